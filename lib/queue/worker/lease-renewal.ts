import { monotonicNow } from "../../clock.js";
import { sanitize } from "../../errors.js";
import { createLog } from "../../log.js";
import type { TaskAttempt } from "./task-attempt.js";
import type { WorkerPort } from "./worker-port.js";

const log = createLog("worker");

/** Leases renewed in one script. */
const MAX_RENEWALS = 200;

/**
 * Renews the leases of all attempts under way, by one timer that runs only while there are any. An attempt whose lease is
 * gone, or whose task was cancelled, is told.
 */
export class LeaseRenewal {
  readonly #port: WorkerPort;
  readonly #leaseMs: number;
  readonly #runs: ReadonlyMap<string, TaskAttempt>;
  #cancel: (() => void) | null = null;
  /** When the timer should fire. */
  #dueAt = 0;
  #renewing = false;

  constructor(port: WorkerPort, leaseMs: number, runs: ReadonlyMap<string, TaskAttempt>) {
    this.#port = port;
    this.#leaseMs = leaseMs;
    this.#runs = runs;
  }

  /** To be called before an attempt begins: its handler may keep the process busy. */
  schedule(): void {
    if (this.#renewing || this.#runs.size === 0) return;
    if (this.#cancel !== null) return;
    this.#dueAt = monotonicNow(this.#port.clock) + this.#leaseMs / 3;
    this.#cancel = this.#port.clock.schedule(() => void this.#renew(), this.#leaseMs / 3);
  }

  /** A task that was cancelled unheard has no lease any more. */
  renewNow(): void {
    if (this.#cancel === null || this.#renewing) return;
    this.pause();
    void this.#renew();
  }

  /** To be called when no attempt is under way any more. */
  pause(): void {
    if (this.#cancel === null) return;
    this.#warnIfLate();
    this.#cancel();
    this.#cancel = null;
  }

  /** A timer comes late when something has kept the event loop busy. */
  #warnIfLate(): void {
    const lateMs = monotonicNow(this.#port.clock) - this.#dueAt;
    if (lateMs <= this.#leaseMs / 2) return;
    const { log: warnings, queue } = this.#port;
    warnings.warnOnce(
      `late ${queue}`,
      "a worker of queue %s was %s ms late to renew its leases, which last %s ms. A handler or other code of this process " +
        "blocked the event loop. If a lease runs out, another worker begins the task again. Run CPU work in a worker " +
        "thread. This queue prints the warning once.",
      queue,
      Math.round(lateMs),
      this.#leaseMs,
    );
  }

  /** Never rejects. */
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
