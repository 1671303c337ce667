import { sanitize } from "../errors.js";
import { createLog } from "../log.js";
import type { TaskRun } from "./task-run.js";
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
  readonly #runs: ReadonlyMap<string, TaskRun>;
  #cancel: (() => void) | null = null;
  #renewing = false;

  constructor(port: WorkerPort, leaseMs: number, runs: ReadonlyMap<string, TaskRun>) {
    this.#port = port;
    this.#leaseMs = leaseMs;
    this.#runs = runs;
  }

  /** To be called when an attempt has begun. */
  schedule(): void {
    if (this.#renewing || this.#runs.size === 0) return;
    this.#cancel ??= this.#port.clock.schedule(() => void this.#renew(), this.#leaseMs / 3);
  }

  /** A task that was cancelled unheard has no lease any more. */
  renewNow(): void {
    if (this.#cancel === null || this.#renewing) return;
    this.pause();
    void this.#renew();
  }

  /** To be called when no attempt is under way any more. */
  pause(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  /** Never rejects. */
  async #renew(): Promise<void> {
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
