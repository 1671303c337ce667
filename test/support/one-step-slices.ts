import { Slices } from "../../lib/slices.js";

/** Slices that end after each step. The clock is 10 ms later with each look, so that streams also start in small batches. */
export function oneStepSlices(): Slices {
  let now = 0;
  return new OneStepSlices({ now: () => (now += 10), schedule: () => () => {} });
}

class OneStepSlices extends Slices {
  override isOver(): boolean {
    return true;
  }
}
