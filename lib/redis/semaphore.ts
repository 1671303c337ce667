import type { Clock } from "../clock.js";
import { PoolExhaustedError, RedisSseError } from "../errors.js";

interface Waiter {
  readonly grant: () => void;
}

/**
 * A bounded number of permits, handed out in the order of asking. Each `acquire` has exactly one outcome:
 * a permit that must be released once, or an error and nothing to release.
 */
export class Semaphore {
  readonly #max: number;
  readonly #maxWaiting: number;
  readonly #clock: Clock;
  readonly #waiters = new Set<Waiter>();
  #taken = 0;

  constructor(max: number, maxWaiting: number, clock: Clock) {
    this.#max = max;
    this.#maxWaiting = maxWaiting;
    this.#clock = clock;
  }

  get taken(): number {
    return this.#taken;
  }

  get waiting(): number {
    return this.#waiters.size;
  }

  async acquire(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) throw aborted();
    if (this.#taken < this.#max) {
      this.#taken++;
      return;
    }
    if (this.#waiters.size >= this.#maxWaiting) {
      throw new PoolExhaustedError(
        `Too many connections: all ${this.#max} are leased, ${this.#maxWaiting} wait`,
      );
    }
    await new Promise<void>((resolve, reject) => {
      const finish = (): void => {
        this.#waiters.delete(waiter);
        cancelTimer();
        signal?.removeEventListener("abort", onAbort);
      };
      const waiter: Waiter = {
        grant: () => {
          finish();
          resolve();
        },
      };
      const onAbort = (): void => {
        finish();
        reject(aborted());
      };
      const cancelTimer = this.#clock.schedule(() => {
        finish();
        reject(
          new PoolExhaustedError(
            `Too many connections: all ${this.#max} are leased, none came free in ${timeoutMs} ms`,
          ),
        );
      }, timeoutMs);
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiters.add(waiter);
    });
  }

  /** Gives one permit back; the one who has waited longest has it at once. */
  release(): void {
    const [next] = this.#waiters;
    if (next === undefined) this.#taken--;
    else next.grant();
  }
}

function aborted(): RedisSseError {
  return new RedisSseError("ABORTED", "gave up waiting for a connection: closing");
}
