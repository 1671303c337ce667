/** Longest wait during the first minute of an outage. Most restarts take less time. */
const SHORT_MS = 2_500;
const SHORT_OUTAGE_MS = 60_000;
/** A random part of the server's `retry` that is added, so that clients of a server that ended do not return together. */
const JITTER = 0.2;
/** With `retry: 0`, a server that ends each stream at once would get requests without a pause. */
const MIN_RETRY_MS = 100;
/** A timer with a longer delay fires at once. */
export const MAX_TIMER_MS: number = 2 ** 31 - 1;

/** Decides how long to wait before the next try. */
export class Backoff {
  readonly #maxMs: number;
  readonly #random: () => number;
  /** When the outage began. `null` while the stream is open. */
  #since: number | null = null;
  #ceilingMs = 0;
  /** The `retry` of the server. */
  retryMs = 2_000;

  constructor(maxMs: number, random: () => number = Math.random) {
    this.#maxMs = maxMs;
    this.#random = random;
    this.reset();
  }

  /** The stream is open. */
  reset(): void {
    this.#since = null;
    this.#ceilingMs = Math.min(SHORT_MS, this.#maxMs);
  }

  /**
   * The first wait of an outage is the `retry` of the server and a little more. Then the waits are random between that and a
   * ceiling: 2.5 s in the first minute, then twice as long after each try, up to the maximum. `leastMs` is the server's
   * `Retry-After`.
   */
  next(now: number, leastMs = 0): number {
    const isFirst = this.#since === null;
    this.#since ??= now;
    if (now - this.#since > SHORT_OUTAGE_MS) this.#ceilingMs = Math.min(this.#ceilingMs * 2, this.#maxMs);
    const random = this.#random();
    const retryMs = Math.max(this.retryMs, MIN_RETRY_MS);
    const waitMs = isFirst ? retryMs * (1 + JITTER * random) : Math.max(retryMs, random * this.#ceilingMs);
    return Math.min(Math.max(leastMs, waitMs), MAX_TIMER_MS);
  }
}
