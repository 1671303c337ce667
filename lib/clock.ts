/** The source of time, so that tests can control it. All values are in milliseconds. */
export interface Clock {
  /** The wall clock for dates, like `Date.now()`. The system can set it forwards or back. */
  now(): number;
  /**
   * A clock for durations that the system never sets, like `performance.now()`.
   *
   * @defaultValue `now()`
   */
  monotonic?(): number;
  /**
   * Runs `callback` once after `delayMs`. Returns a function that cancels this. The library may call that function at any time.
   *
   * The library passes delays from 0 to 2^31 - 1 ms (24.8 days), the longest delay of a Node timer. A longer timeout or
   * pause ends after 24.8 days.
   */
  schedule(callback: () => void, delayMs: number): () => void;
}

/** Node runs a timer with a longer delay after 1 ms. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** Limits all delays for `clock`, so that callers can pass computed delays without a check. */
export function withSafeDelays(clock: Clock): Clock {
  return {
    now: () => clock.now(),
    ...(clock.monotonic !== undefined && { monotonic: () => monotonicNow(clock) }),
    schedule: (callback, delayMs) => clock.schedule(callback, toSafeDelay(delayMs)),
  };
}

/** NaN counts as 0, as it does in Node. */
function toSafeDelay(delayMs: number): number {
  return delayMs > 0 ? Math.min(delayMs, MAX_DELAY_MS) : 0;
}

export const systemClock: Clock = withSafeDelays({
  now: () => Date.now(),
  monotonic: () => performance.now(),
  schedule(callback, delayMs) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
});

/** The time for durations. With the wall clock, heartbeats and lifetimes would be late after the system sets it back. */
export function monotonicNow(clock: Clock): number {
  return clock.monotonic?.() ?? clock.now();
}
