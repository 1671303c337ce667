import { monotonicNow } from "../../clock.js";
import { sanitize } from "../../errors.js";
import { createLog } from "../../log.js";
import type { TaskAttempt } from "./task-attempt.js";
import type { WorkerPort } from "./worker-port.js";

const log = createLog("worker");

/** Number of leases that one call of the script renews. */
const MAX_RENEWALS = 200;

/**
 * Renews the leases of all running attempts of a worker with one timer. The timer runs only while attempts run.
 *
 * If a lease has expired or its task was cancelled, the attempt ends.
 */
export class LeaseRenewal {
  readonly #port: WorkerPort;
  readonly #leaseMs: number;
  readonly #runs: ReadonlyMap<string, TaskAttempt>;
  #cancel: (() => void) | null = null;
  /** Due time of the timer, by the monotonic clock. */
  #dueAt = 0;
  #renewing = false;

  constructor(port: WorkerPort, leaseMs: number, runs: ReadonlyMap<string, TaskAttempt>) {
    this.#port = port;
    this.#leaseMs = leaseMs;
    this.#runs = runs;
  }

  /** Starts the timer. Call it before an attempt starts, because the handler may block the event loop. */
  schedule(): void {
    if (this.#renewing || this.#runs.size === 0) return;
    if (this.#cancel !== null) return;
    this.#dueAt = monotonicNow(this.#port.clock) + this.#leaseMs / 3;
    this.#cancel = this.#port.clock.schedule(() => void this.#renew(), this.#leaseMs / 3);
  }

  /**
   * Renews all leases now. If the message that cancelled a task was lost, the reply says that the task was cancelled.
   */
  renewNow(): void {
    if (this.#cancel === null || this.#renewing) return;
    this.pause();
    void this.#renew();
  }

  /** Stops the timer. Call it when no attempt runs. */
  pause(): void {
    if (this.#cancel === null) return;
    this.#warnIfLate();
    this.#cancel();
    this.#cancel = null;
  }

  /** Warns if the timer is late. Then something blocked the event loop. */
  #warnIfLate(): void {
    const lateMs = monotonicNow(this.#port.clock) - this.#dueAt;
    if (lateMs <= this.#leaseMs / 2) return;
    const { log: warnings, queue } = this.#port;
    warnings.warnOnce(
      `late ${queue}`,
      "a worker of queue %s was %s ms late to renew its leases, which last %s ms. A handler or other code of this process " +
        "blocked the event loop. If a lease expires, another worker starts the task again. Run CPU work in a worker " +
        "thread. This queue prints the warning once.",
      queue,
      Math.round(lateMs),
      this.#leaseMs,
    );
  }

  /** Renews the leases of all attempts, and ends the attempts whose leases are gone. Never rejects. */
  async #renew(): Promise<void> {
    if (this.#cancel !== null) this.#warnIfLate();
    this.#cancel = null;
    this.#renewing = true;
    const runs = [...this.#runs.values()];
    for (let index = 0; index < runs.length; index += MAX_RENEWALS) {
      const some = runs.slice(index, index + MAX_RENEWALS);
      const leases = some.map(({ lease }) => lease);
      try {
        const replies = await this.#port.renew(leases, this.#leaseMs);
        some.forEach((run, at) => {
          if (replies[at] === "cancelled") run.cancel();
          else if (replies[at] === "lost") run.lose();
        });
      } catch (error) {
        log("cannot renew leases: %s", sanitize(error).message);
      }
    }
    this.#renewing = false;
    this.schedule();
  }
}
