import type { Clock } from "../clock.js";
import { PoolExhaustedError, RedisSseError } from "../errors.js";

interface Waiter {
  readonly grant: () => void;
}

/**
 * A limited number of permits. Requests get them in order. Each `acquire()` either gets a permit, which must be released once, or
 * rejects with nothing to release.
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
        `Too many connections: all ${this.#max} are leased, and ${this.#maxWaiting} requests wait`,
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
            `Too many connections: all ${this.#max} are leased, and none became free in ${timeoutMs} ms`,
          ),
        );
      }, timeoutMs);
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiters.add(waiter);
    });
  }

  /** Returns one permit. If requests wait, the oldest one gets it. */
  release(): void {
    const [next] = this.#waiters;
    if (next === undefined) this.#taken--;
    else next.grant();
  }
}

function aborted(): RedisSseError {
  return new RedisSseError("ABORTED", "Aborted while waiting for a connection.");
}
