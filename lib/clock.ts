/** Time as the library sees it, so that tests can turn it by hand. All values are milliseconds. */
export interface Clock {
  /** The wall clock, as `Date.now()`: for dates. It is set at times, forwards or back. */
  now(): number;
  /** A clock that is never set, as `performance.now()`: for durations. Default: `now()`. */
  monotonic?(): number;
  /** Runs `callback` once, `delayMs` from now; the answer cancels it, and may be called at any time. */
  schedule(callback: () => void, delayMs: number): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  schedule(callback, delayMs) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};

/** What durations are measured by: a wall clock that is set back would keep heartbeats and lifetimes waiting. */
export function monotonicNow(clock: Clock): number {
  return clock.monotonic?.() ?? clock.now();
}
