import { getEventListeners } from "node:events";

import { expect } from "chai";

import type { RedisSseError } from "../../../lib/errors.js";
import { Semaphore } from "../../../lib/redis/semaphore.js";
import { settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { createRandom } from "../../support/random.js";

const TIMEOUT_MS = 100;

describe("Semaphore", () => {
  let clock: FakeClock;
  let permits: Semaphore;

  beforeEach(() => {
    clock = new FakeClock();
    permits = new Semaphore(2, 3, clock);
  });

  afterEach(() => {
    expect(permits.waiting).to.equal(0);
    expect(clock.pending).to.equal(0);
  });

  it("gives out as many as there are, at once and without a timer", async () => {
    await permits.acquire(TIMEOUT_MS);
    await permits.acquire(TIMEOUT_MS);
    expect(permits).to.include({ taken: 2, waiting: 0 });
    expect(clock.pending).to.equal(0);
  });

  it("gives a permit out again once it was given back", async () => {
    for (let round = 0; round < 5; round++) {
      await permits.acquire(TIMEOUT_MS);
      permits.release();
    }
    expect(permits.taken).to.equal(0);
  });

  it("serves those who wait in the order in which they asked", async () => {
    await takeAll();
    const served: number[] = [];
    const waiting = [1, 2, 3].map((which) => permits.acquire(TIMEOUT_MS).then(() => served.push(which)));
    expect(permits.waiting).to.equal(3);
    for (const expected of [[1], [1, 2], [1, 2, 3]]) {
      permits.release();
      await settle();
      expect(served).to.deep.equal(expected);
      expect(permits.taken).to.equal(2);
    }
    await Promise.all(waiting);
  });

  it("lets nobody overtake who waits", async () => {
    await takeAll();
    const served: string[] = [];
    const early = permits.acquire(TIMEOUT_MS).then(() => served.push("early"));
    permits.release();
    const late = permits.acquire(TIMEOUT_MS).then(() => served.push("late"));
    await early;
    expect(permits).to.include({ taken: 2, waiting: 1 });
    permits.release();
    await late;
    expect(served).to.deep.equal(["early", "late"]);
  });

  it("refuses who has waited too long, and keeps no place for them", async () => {
    await takeAll();
    const fault = faultOf(permits.acquire(TIMEOUT_MS));
    clock.advance(TIMEOUT_MS - 1);
    await settle();
    expect(permits.waiting).to.equal(1);
    clock.advance(1);
    expect(await fault).to.include({ code: "POOL_EXHAUSTED", name: "PoolExhaustedError" });
    expect((await fault).message).to.match(/^Too many connections: all 2 .*100 ms/);
    expect(permits).to.include({ taken: 2, waiting: 0 });
    permits.release();
    expect(permits.taken).to.equal(1);
  });

  it("refuses at once when too many wait already", async () => {
    await takeAll();
    const waiting = [1, 2, 3].map(() => permits.acquire(TIMEOUT_MS));
    expect(await faultOf(permits.acquire(TIMEOUT_MS))).to.include({ code: "POOL_EXHAUSTED" });
    expect(permits.waiting).to.equal(3);
    for (let count = 0; count < 3; count++) permits.release();
    await Promise.all(waiting);
  });

  it("lets nobody wait where that is the limit", async () => {
    const strict = new Semaphore(1, 0, clock);
    await strict.acquire(TIMEOUT_MS);
    expect(await faultOf(strict.acquire(TIMEOUT_MS))).to.include({ code: "POOL_EXHAUSTED" });
  });

  it("ends the wait of who gives up, and serves the next in their place", async () => {
    await takeAll();
    const source = new AbortController();
    const left = faultOf(permits.acquire(TIMEOUT_MS, source.signal));
    const stays = permits.acquire(TIMEOUT_MS);
    source.abort();
    expect(await left).to.include({ code: "ABORTED" });
    expect(permits.waiting).to.equal(1);
    permits.release();
    await stays;
    expect(permits.taken).to.equal(2);
  });

  it("gives nothing to who has given up before asking", async () => {
    expect(await faultOf(permits.acquire(TIMEOUT_MS, AbortSignal.abort()))).to.include({ code: "ABORTED" });
    expect(permits.taken).to.equal(0);
  });

  it("leaves no listener on a signal, however the wait ends", async () => {
    const { signal } = new AbortController();
    await permits.acquire(TIMEOUT_MS, signal);
    await permits.acquire(TIMEOUT_MS, signal);
    const granted = permits.acquire(TIMEOUT_MS, signal);
    const late = faultOf(permits.acquire(TIMEOUT_MS, signal));
    permits.release();
    await granted;
    clock.advance(TIMEOUT_MS);
    await late;
    expect(getEventListeners(signal, "abort")).to.have.length(0);
  });

  describe("has exactly one outcome", () => {
    it("when a permit comes free in the tick of the timeout, before it", async () => {
      await takeAll();
      clock.schedule(() => permits.release(), TIMEOUT_MS); // set first, so it runs first
      const outcomes = outcomesOf(permits.acquire(TIMEOUT_MS));
      clock.advance(TIMEOUT_MS);
      await settle();
      expect(outcomes).to.deep.equal(["granted"]);
      expect(permits.taken).to.equal(2);
    });

    it("when a permit comes free in the tick of the timeout, after it", async () => {
      await takeAll();
      const outcomes = outcomesOf(permits.acquire(TIMEOUT_MS));
      clock.schedule(() => permits.release(), TIMEOUT_MS);
      clock.advance(TIMEOUT_MS);
      await settle();
      expect(outcomes).to.deep.equal(["POOL_EXHAUSTED"]);
      expect(permits.taken).to.equal(1);
    });

    it("when they give up in the turn in which they are served", async () => {
      await takeAll();
      const source = new AbortController();
      const outcomes = outcomesOf(permits.acquire(TIMEOUT_MS, source.signal));
      permits.release();
      source.abort();
      clock.advance(TIMEOUT_MS);
      await settle();
      expect(outcomes).to.deep.equal(["granted"]);
      expect(permits.taken).to.equal(2);
    });

    it("when a permit comes free in the turn in which they give up", async () => {
      await takeAll();
      const source = new AbortController();
      const outcomes = outcomesOf(permits.acquire(TIMEOUT_MS, source.signal));
      source.abort();
      permits.release();
      await settle();
      expect(outcomes).to.deep.equal(["ABORTED"]);
      expect(permits.taken).to.equal(1);
    });
  });

  it("counts right after any order of asking, giving back, giving up and waiting", async () => {
    const random = createRandom(11);
    const sources: AbortController[] = [];
    const outcomes: string[][] = [];
    let held = 0;
    for (let step = 0; step < 2_000; step++) {
      const choice = random();
      if (choice < 0.4) {
        const source = new AbortController();
        sources.push(source);
        const acquired = permits.acquire(TIMEOUT_MS, source.signal);
        acquired.then(
          () => held++,
          () => {},
        );
        outcomes.push(outcomesOf(acquired));
      } else if (choice < 0.7) {
        if (held > 0) {
          held--;
          permits.release();
        }
      } else if (choice < 0.85) {
        sources[Math.floor(random() * sources.length)]?.abort();
      } else {
        clock.advance(random() * TIMEOUT_MS);
      }
      await settle(1);
      expect(permits.taken).to.equal(held);
      expect(permits.taken).to.be.at.most(2);
    }
    clock.advance(TIMEOUT_MS);
    await settle();
    expect(outcomes.every(({ length }) => length === 1)).to.equal(true);
  });

  async function takeAll(): Promise<void> {
    await permits.acquire(TIMEOUT_MS);
    await permits.acquire(TIMEOUT_MS);
  }
});

function outcomesOf(acquired: Promise<void>): string[] {
  const outcomes: string[] = [];
  acquired.then(
    () => outcomes.push("granted"),
    (fault: RedisSseError) => outcomes.push(fault.code),
  );
  return outcomes;
}

function faultOf(work: Promise<unknown>): Promise<RedisSseError> {
  return work.then(
    () => expect.fail("expected a rejection"),
    (error: unknown) => error as RedisSseError,
  );
}
