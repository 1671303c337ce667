import { optionError } from "../lib/adapter.js";
import type { Clock } from "../lib/index.js";

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

// Bound when this file is loaded: a test may replace the global timers later.
const { setImmediate, setTimeout, clearTimeout } = globalThis;
const realNow = Date.now.bind(Date);

/**
 * Work that a timer has started counts as done after so many turns of the event loop without activity. Most timers start none,
 * and one turn shows that: promises run within it.
 */
const QUIET_TURNS = 3;
/** Work that never ends must not stop the clock. */
const MAX_TURNS = 100;
const REAL_STEP_MS = 5;

/** ES modules and CommonJS in one process have a class each: `instanceof` knows only one. */
const BRAND: unique symbol = Symbol.for("redis-sse/testing/FakeClock") as never;

/** Whether it is a `FakeClock`, also one of another copy of this package. */
export function isFakeClock(value: object): value is FakeClock {
  return BRAND in value;
}

/**
 * Time that a test controls. It stands still until `advance()`. Pass it as `clock` to `createTestSse()`.
 *
 * It drives everything that the service and its in-memory Redis time: heartbeats, deadlines, lifetimes, retries, leases,
 * schedules, and the expiry of keys. It does not drive the timers of your app, of Node's sockets, or of `collect()`.
 *
 * @example
 * const clock = new FakeClock();
 * const sse = createTestSse({ clock });
 * await clock.advance(60_000);
 */
export class FakeClock implements Clock {
  /** @internal */
  readonly [BRAND] = true as const;
  #now: number;
  readonly #timers = new Set<Timer>();
  /** Timers that were set or cancelled, and commands that were sent to Redis. */
  #activity = 0;

  /**
   * `start` is the time that the clock shows first: a `Date`, or milliseconds since 1970. Throws `ConfigError`.
   *
   * @defaultValue the current time
   */
  constructor(start: Date | number = realNow()) {
    const now = start instanceof Date ? start.getTime() : start;
    if (!Number.isFinite(now)) throw optionError("start as a date, or milliseconds since 1970", start);
    this.#now = now;
  }

  /** The time that the clock shows, in milliseconds since 1970. */
  now(): number {
    return this.#now;
  }

  /** Runs `callback` when the clock has advanced by `delayMs` milliseconds. Returns a function that cancels it. */
  schedule(callback: () => void, delayMs: number): () => void {
    const timer = { at: this.#now + delayMs, callback };
    this.#timers.add(timer);
    this.#activity++;
    return () => {
      if (this.#timers.delete(timer)) this.#activity++;
    };
  }

  /** The number of timers that are set. */
  get pending(): number {
    return this.#timers.size;
  }

  /**
   * Advances the clock by `ms` milliseconds, and runs the timers that are due, in order.
   *
   * After each point in time it lets the work that was started there go on, so that a task which is retried three times
   * within `ms` runs three times. Work that waits for something else, such as a socket, may still be unfinished when the
   * promise resolves. Rejects with `ConfigError` if `ms` is not a number from 0, and with the error of a timer.
   */
  async advance(ms: number): Promise<void> {
    if (!(Number.isFinite(ms) && ms >= 0)) throw optionError("ms as a number of milliseconds from 0", ms);
    // A test has often just started the work whose timer must run.
    await this.#settle(QUIET_TURNS);
    const end = this.#now + ms;
    for (let at = this.#nextAt(); at <= end; at = this.#nextAt()) {
      this.#runDue(at);
      await this.#settle();
    }
    this.#now = Math.max(this.#now, end);
  }

  /** @internal Work goes on: `advance()` waits longer. */
  touch(): void {
    this.#activity++;
  }

  /** @internal Lets the clock run with real time until the returned function is called. */
  runFree(): () => void {
    let last = realNow();
    let timer: NodeJS.Timeout;
    const step = (): void => {
      const now = realNow();
      const end = this.#now + Math.max(0, now - last);
      last = now;
      for (let at = this.#nextAt(); at <= end; at = this.#nextAt()) this.#runDue(at);
      this.#now = Math.max(this.#now, end);
      timer = setTimeout(step, REAL_STEP_MS);
    };
    timer = setTimeout(step, REAL_STEP_MS);
    return () => clearTimeout(timer);
  }

  #nextAt(): number {
    let next = Infinity;
    for (const { at } of this.#timers) next = Math.min(next, at);
    return next;
  }

  /** A timer that one of these sets for the same moment waits for the next call. */
  #runDue(at: number): void {
    this.#now = Math.max(this.#now, at);
    for (const timer of Array.from(this.#timers)) {
      if (timer.at <= at && this.#timers.delete(timer)) timer.callback();
    }
  }

  async #settle(quietTurns = 1): Promise<void> {
    let activity = this.#activity;
    for (let turn = 0, quiet = QUIET_TURNS - quietTurns; turn < MAX_TURNS && quiet < QUIET_TURNS; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      quiet = this.#activity === activity ? quiet + 1 : 0;
      activity = this.#activity;
    }
  }
}
