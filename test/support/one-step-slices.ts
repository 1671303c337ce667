import { Slices } from "../../lib/slices.js";

/** Slices that end after each step: the clock is 10 ms later with each look at it. */
export function oneStepSlices(): Slices {
  let now = 0;
  return new Slices({ now: () => (now += 10), schedule: () => () => {} });
}
