import { optionError } from "../lib/adapter.js";
import type { Clock } from "../lib/index.js";

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

// Bound when this file is loaded, because a test can replace the global timers later.
const { setImmediate, setTimeout, clearTimeout } = globalThis;
const realNow = Date.now.bind(Date);

/**
 * Event-loop turns without activity after which the work started by a timer counts as done. Most timers start no work. For
 * them one turn is enough, because promises run within it.
 */
const QUIET_TURNS = 3;
/** Limit of turns, so that work that never ends does not stop the clock. */
const MAX_TURNS = 100;
const REAL_STEP_MS = 5;

/** A process can load this package as an ES module and as CommonJS. Then `instanceof` fails between the two classes. */
const BRAND: unique symbol = Symbol.for("redis-sse/testing/FakeClock") as never;

/** Returns whether the value is a `FakeClock`, also of another copy of this package. */
export function isFakeClock(value: object): value is FakeClock {
  return BRAND in value;
}

/**
 * A clock that your test controls. Its time changes only in `advance()`. Pass it as `clock` to `createTestSse()`.
 *
 * It controls all timers of the service and of its in-memory Redis: heartbeats, deadlines, lifetimes, retries, leases,
 * schedules and the expiry of keys. It does not control the timers of your app, of Node's sockets or of `collect()`.
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
  /** Number of timers set or cancelled and of commands sent to Redis. */
  #activity = 0;

  /**
   * `start` is the initial time, as a `Date` or in milliseconds since 1970. Throws `ConfigError` if it is invalid.
   *
   * @defaultValue the current time
   */
  constructor(start: Date | number = realNow()) {
    const now = start instanceof Date ? start.getTime() : start;
    if (!Number.isFinite(now)) throw optionError("start as a date, or milliseconds since 1970", start);
    this.#now = now;
  }

  /** The current time of the clock, in milliseconds since 1970. */
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

  /** The number of pending timers. */
  get pending(): number {
    return this.#timers.size;
  }

  /**
   * Advances the clock by `ms` milliseconds and runs the timers that are due, in order.
   *
   * After each timer, it waits for the work that the timer started. So a task with three retries within `ms` runs three
   * times. Work that waits for something else, such as a socket, can be unfinished when the promise resolves. Rejects with
   * `ConfigError` if `ms` is negative or not a number. Rejects with the error of a timer that throws.
   */
  async advance(ms: number): Promise<void> {
    if (!(Number.isFinite(ms) && ms >= 0)) throw optionError("ms as a number of milliseconds from 0", ms);
    // The test has often just started work that sets its timer asynchronously.
    await this.#settle(QUIET_TURNS);
    const end = this.#now + ms;
    for (let at = this.#nextAt(); at <= end; at = this.#nextAt()) {
      this.#runDue(at);
      await this.#settle();
    }
    this.#now = Math.max(this.#now, end);
  }

  /** @internal Reports activity, so that `advance()` waits longer. */
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

  /** If a timer sets another timer for the same moment, that timer runs in the next call. */
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
