import { expect } from "chai";

import { Slices, type Work } from "../../lib/slices.js";
import { FakeClock } from "../support/fake-clock.js";

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe("Slices", () => {
  let clock: FakeClock;
  let slices: Slices;

  beforeEach(() => {
    clock = new FakeClock();
    slices = new Slices(clock);
  });

  describe("add()", () => {
    function* work(steps: number, costMs: number, done: number[]): Generator<void, void> {
      for (let step = 1; step <= steps; step++) {
        clock.advance(costMs);
        done.push(step);
        if (slices.isOver()) yield;
      }
    }

    it("stops after two steps that take long, also after many that took no time", async () => {
      for (let round = 1; round <= 100; round++) slices.add(work(100, 0, []));
      const done: number[] = [];
      slices.add(work(10, 20, done));
      expect(done).to.have.length(2);
      while (slices.isBusy) await nextTurn();
      expect(done).to.have.length(10);
    });

    it("stops within a few steps if steps take longer from one moment on", async () => {
      const done: number[] = [];
      slices.add(
        (function* (): Work {
          yield* work(1_000, 0, []);
          yield* work(100, 20, done);
        })(),
      );
      expect(done.length).to.be.within(1, 16);
      slices.finish();
      expect(done).to.have.length(100);
    });

    it("ends short work in the same turn", () => {
      const done: number[] = [];
      slices.add(work(1_000, 0, done));
      expect(done).to.have.length(1_000);
      expect(slices.isBusy).to.equal(false);
    });
  });

  describe("turn()", () => {
    /** Starts `count` streams in one turn, each of which takes `costMs`. Adds its number to `done`. */
    function start(count: number, costMs: number, done: number[]): void {
      for (let number = 0; number < count; number++) {
        void (async () => {
          const turn = slices.turn();
          if (turn !== undefined) await turn;
          clock.advance(costMs);
          done.push(number);
        })();
      }
    }

    it("lets a few streams start at once, without a promise", () => {
      for (let stream = 1; stream <= 16; stream++) expect(slices.turn()).to.equal(undefined);
      expect(slices.turn()).to.be.a("promise");
    });

    it("lets the others start in later turns, in their order", async () => {
      const done: number[] = [];
      start(100, 1, done);
      expect(done).to.have.length(16);
      while (slices.isBusy) await nextTurn();
      await nextTurn();
      expect(done).to.deep.equal(Array.from({ length: 100 }, (_, number) => number));
    });

    it("starts fewer in a turn if they take long, and more if they take little time", async () => {
      for (const [costMs, atMost] of [
        [4, 2],
        [0, 64],
      ] as const) {
        const done: number[] = [];
        let most = 0;
        start(400, costMs, done);
        while (slices.isBusy) {
          const before = done.length;
          await nextTurn();
          if (before > 200) most = Math.max(most, done.length - before);
        }
        await nextTurn();
        expect(most, `streams of ${costMs} ms in one turn`).to.equal(atMost);
      }
    });

    it("starts many in a turn even if other work makes the turn long", async () => {
      const done: number[] = [];
      start(400, 0, done);
      let most = 0;
      for (let before = done.length; slices.isBusy; before = done.length) {
        clock.advance(50);
        await nextTurn();
        most = Math.max(most, done.length - before);
      }
      expect(most).to.equal(64);
    });

    it("lets a later stream start at once if the streams before it have ended", async () => {
      start(20, 0, []);
      while (slices.isBusy) await nextTurn();
      await nextTurn();
      await nextTurn();
      expect(slices.turn()).to.equal(undefined);
    });
  });
});
