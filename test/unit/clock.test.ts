import { expect } from "chai";
import { restore, stub } from "sinon";

import { monotonicNow, systemClock, withSafeDelays, type Clock } from "../../lib/clock.js";
import { delay, withDeadline } from "../../lib/deadline.js";
import { FakeClock } from "../support/fake-clock.js";
import { settle } from "../support/eventually.js";

/** The longest delay of a Node timer. Node runs a timer with a longer one after 1 ms. */
const LONGEST = 2 ** 31 - 1;

const delays: readonly (readonly [given: number, passed: number])[] = [
  [0, 0],
  [0.5, 0.5],
  [1, 1],
  [LONGEST, LONGEST],
  [LONGEST + 1, LONGEST],
  [2 * LONGEST, LONGEST],
  [Infinity, LONGEST],
  [-1, 0],
  [-Infinity, 0],
  [NaN, 0],
];

describe("withSafeDelays()", () => {
  for (const [given, passed] of delays) {
    it(`passes a delay of ${given} ms as ${passed} ms`, () => {
      const seen: number[] = [];
      const clock: Clock = {
        now: () => 0,
        schedule(_, delayMs) {
          seen.push(delayMs);
          return () => {};
        },
      };
      withSafeDelays(clock).schedule(() => {}, given);
      expect(seen).to.deep.equal([passed]);
    });
  }

  it("passes the callback on, and returns the function that cancels it", () => {
    const inner = new FakeClock();
    const clock = withSafeDelays(inner);
    const ran: string[] = [];
    clock.schedule(() => ran.push("runs"), 5);
    clock.schedule(() => ran.push("cancelled"), 5)();
    inner.advance(5);
    expect(ran).to.deep.equal(["runs"]);
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

  it("ends a longer deadline and a longer pause after the longest delay", async () => {
    const inner = new FakeClock();
    const clock = withSafeDelays(inner);
    const over: string[] = [];
    const never = new Promise<void>(() => {});
    void delay(clock, 2 * LONGEST).then(() => over.push("pause"));
    withDeadline(never, { clock, timeoutMs: 2 * LONGEST, what: "the end" }).catch(() =>
      over.push("deadline"),
    );
    inner.advance(LONGEST - 1);
    await settle();
    expect(over).to.deep.equal([]);
    inner.advance(1);
    await settle();
    expect(over).to.have.members(["pause", "deadline"]);
  });
});

describe("systemClock", () => {
  afterEach(() => restore());

  for (const [given, passed] of delays) {
    it(`sets a Node timer of ${passed} ms for a delay of ${given} ms`, () => {
      const set = stub(globalThis, "setTimeout");
      systemClock.schedule(() => {}, given);
      expect(set.args[0]?.[1]).to.equal(passed);
    });
  }

  it("runs no callback at once for a delay that a timer cannot wait", async () => {
    const ran: string[] = [];
    const cancel = systemClock.schedule(() => ran.push("too long"), 2 * LONGEST);
    await new Promise<void>((resolve) => systemClock.schedule(resolve, 5));
    await settle();
    cancel();
    expect(ran).to.deep.equal([]);
  });
});
