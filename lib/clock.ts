/** Time as the library sees it, so that tests can turn it by hand. All values are milliseconds. */
export interface Clock {
  /** The wall clock, as `Date.now()`: for dates. It is set at times, forwards or back. */
  now(): number;
  /** A clock that is never set, as `performance.now()`: for durations. Default: `now()`. */
  monotonic?(): number;
  /**
   * Runs `callback` once after `delayMs` and returns a function that cancels it. The library may call that function
   * at any time.
   *
   * The library passes delays from 0 to 2^31 - 1 ms (24.8 days), the longest delay of a Node timer. A longer timeout or
   * pause ends after 24.8 days.
   */
  schedule(callback: () => void, delayMs: number): () => void;
}

/** Node runs a timer with a longer delay after 1 ms. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** Limits the delays that reach `clock`, so that callers need not check the delays that they compute. */
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

/** What durations are measured by: a wall clock that is set back would keep heartbeats and lifetimes waiting. */
export function monotonicNow(clock: Clock): number {
  return clock.monotonic?.() ?? clock.now();
}
