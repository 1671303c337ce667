import type { Clock } from "../../lib/index.js";

/** Time between two extensions of a ticket. */
const PERIOD_MS = 10_000;

/** Real time, with shorter pauses between two extensions of a ticket. */
export const hastyClock: Clock = {
  now: () => Date.now(),
  schedule(callback, delayMs) {
    const timer = setTimeout(callback, delayMs === PERIOD_MS ? 50 : delayMs);
    return () => clearTimeout(timer);
  },
};
