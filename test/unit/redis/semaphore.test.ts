import { getEventListeners } from "node:events";

import { expect } from "chai";

import type { RedisSseError } from "../../../lib/errors.js";
import { Semaphore } from "../../../lib/redis/semaphore.js";
import { settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { createRandom } from "../../support/random.js";
import { expectFault, faultOf } from "../../support/service.js";

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

  it("refuses at once when as many wait as may, and who has given up before asking", async () => {
    const strict = new Semaphore(1, 0, clock);
    await strict.acquire(TIMEOUT_MS);
    expectFault(await faultOf(strict.acquire(TIMEOUT_MS)), "POOL_EXHAUSTED");
    expectFault(await faultOf(permits.acquire(TIMEOUT_MS, AbortSignal.abort())), "ABORTED");
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
    expect(((await late) as Error).message).to.match(/^Too many connections: all 2 .*100 ms/);
    expect(getEventListeners(signal, "abort")).to.have.length(0);
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
