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

  it("grants permits to waiting callers in the order of their calls", async () => {
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

  it("counts correctly after any order of acquire, release, abort and timeout", async () => {
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
