import { expect } from "chai";
import { stub } from "sinon";

import { monotonicNow, systemClock, withSafeDelays } from "../../lib/clock.js";
import { FakeClock } from "../support/fake-clock.js";

/** The longest delay of a Node timer. Node runs a timer with a longer one after 1 ms. */
const LONGEST = 2 ** 31 - 1;

const delays: readonly (readonly [given: number, passed: number])[] = [
  [0, 0],
  [0.5, 0.5],
  [LONGEST, LONGEST],
  [LONGEST + 1, LONGEST],
  [Infinity, LONGEST],
  [-Infinity, 0],
  [NaN, 0],
];

describe("withSafeDelays()", () => {
  it("calls now() and monotonic() with the clock as `this`", () => {
    class Times extends FakeClock {
      override now(): number {
        return this.pending + 3;
      }
      monotonic(): number {
        return this.pending + 4;
      }
    }
    const clock = withSafeDelays(new Times());
    expect([clock.now(), monotonicNow(clock)]).to.deep.equal([3, 4]);
  });

  it("has no monotonic time if the clock has none", () => {
    const inner = new FakeClock();
    const clock = withSafeDelays(inner);
    expect(clock).not.to.have.property("monotonic");
    expect(monotonicNow(clock)).to.equal(inner.now());
  });
});

describe("systemClock", () => {
  it("limits each delay to the longest delay of a Node timer", () => {
    const set = stub(globalThis, "setTimeout");
    try {
      for (const [given] of delays) systemClock.schedule(() => {}, given);
      expect(set.args.map(([, delayMs]) => delayMs)).to.deep.equal(delays.map(([, passed]) => passed));
    } finally {
      set.restore();
    }
  });
});
