/** Time as the library sees it, so that tests can turn it by hand. All values are milliseconds. */
export interface Clock {
  /** The wall clock, as `Date.now()`. */
  now(): number;
  /** Runs `callback` once, `delayMs` from now; the answer cancels it, and may be called at any time. */
  schedule(callback: () => void, delayMs: number): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  schedule(callback, delayMs) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};
