/** Waits between tries during the first minute of an outage. Most restarts are over by then. */
const SHORT_MS = 3_000;
const SHORT_OUTAGE_MS = 60_000;
/** A random part of the server's `retry` that is added, so that clients of a server that ended do not return together. */
const JITTER = 0.2;

/** Decides how long to wait before the next try. */
export class Backoff {
  readonly #maxMs: number;
  readonly #random: () => number;
  /** When the outage began. `null` while the stream is open. */
  #since: number | null = null;
  #ceilingMs = SHORT_MS;
  /** The `retry` of the server. */
  retryMs = 2_000;

  constructor(maxMs: number, random: () => number = Math.random) {
    this.#maxMs = maxMs;
    this.#random = random;
  }

  /** The stream is open. */
  reset(): void {
    this.#since = null;
    this.#ceilingMs = SHORT_MS;
  }

  /**
   * The first wait of an outage is the `retry` of the server and a little more. Then the waits are random between that and a
   * ceiling: 3 s in the first minute, then twice as long after each try, up to the maximum. `leastMs` is the server's
   * `Retry-After`.
   */
  next(now: number, leastMs = 0): number {
    const isFirst = this.#since === null;
    this.#since ??= now;
    if (now - this.#since > SHORT_OUTAGE_MS) this.#ceilingMs = Math.min(this.#ceilingMs * 2, this.#maxMs);
    const random = this.#random();
    const jittered = this.retryMs * (1 + JITTER * random);
    return Math.max(leastMs, isFirst ? jittered : Math.max(this.retryMs, random * this.#ceilingMs));
  }
}
