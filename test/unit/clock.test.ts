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
  it("passes delays that a timer can wait, the callback, and the function that cancels it", () => {
    const seen: number[] = [];
    const inner = new FakeClock();
    const clock = withSafeDelays({
      now: () => 0,
      schedule(callback, delayMs) {
        seen.push(delayMs);
        return inner.schedule(callback, Math.min(delayMs, 5));
      },
    });
    const ran: number[] = [];
    for (const [given] of delays) clock.schedule(() => ran.push(given), given);
    clock.schedule(() => expect.fail("it was cancelled"), 5)();
    inner.advance(5);
    expect(seen).to.deep.equal([...delays.map(([, passed]) => passed), 5]);
    expect(ran).to.have.length(delays.length);
    expect(inner.pending).to.equal(0);
  });

  it("reads both times from the clock, with the clock as `this`", () => {
    class Times {
      readonly #wall = 3;
      readonly #steady = 4;
      now(): number {
        return this.#wall;
      }
      monotonic(): number {
        return this.#steady;
      }
      schedule(): () => void {
        return () => {};
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
  it("sets no Node timer for longer than a timer can wait", () => {
    const set = stub(globalThis, "setTimeout");
    try {
      for (const [given] of delays) systemClock.schedule(() => {}, given);
      expect(set.args.map(([, delayMs]) => delayMs)).to.deep.equal(delays.map(([, passed]) => passed));
    } finally {
      set.restore();
    }
  });
});
