import { expect } from "chai";

import { Ticker, type Ticking } from "../../../lib/sessions/ticker.js";
import { FakeClock } from "../../support/fake-clock.js";

const PERIOD_MS = 1_000;

describe("Ticker", () => {
  let clock: FakeClock;
  let ticker: Ticker;

  beforeEach(() => {
    clock = new FakeClock();
    ticker = new Ticker(clock, PERIOD_MS);
  });

  it("ticks each member once per period with the current time", () => {
    const members = Array.from({ length: 25 }, () => new Member());
    members.forEach((member) => ticker.add(member));
    clock.advance(PERIOD_MS);
    for (const { ticks } of members) expect(ticks).to.have.length(1);
    clock.advance(3 * PERIOD_MS);
    for (const { ticks } of members) {
      expect(ticks).to.have.length(4);
      expect(ticks.slice(1).map((now, index) => now - ticks[index]!)).to.deep.equal([1_000, 1_000, 1_000]);
    }
  });

  it("spreads its members evenly over the period with a single timer", () => {
    let ticked = 0;
    for (let index = 0; index < 1_000; index++) ticker.add({ tick: () => ticked++ });
    expect(clock.pending).to.equal(1);
    for (let slot = 1; slot <= 10; slot++) {
      clock.advance(PERIOD_MS / 10);
      expect(ticked).to.equal(slot * 100);
    }
    expect(clock.pending).to.equal(1);
  });

  it("has no timer after its last member was removed, also if it is removed twice", () => {
    const [first, ...others] = Array.from({ length: 12 }, () => new Member());
    for (const member of [first!, ...others]) ticker.add(member);
    for (const member of others) {
      ticker.remove(member);
      ticker.remove(member);
    }
    expect(clock.pending).to.equal(1);
    ticker.remove(first!);
    ticker.remove(first!);
    expect(clock.pending).to.equal(0);
  });

  it("continues to tick if a member removes another one", () => {
    const late = new Member();
    ticker.add({ tick: () => ticker.remove(late) });
    for (let index = 0; index < 9; index++) ticker.add(new Member());
    ticker.add(late); // It shares the slot of the first member.
    const last = new Member();
    ticker.add(last);
    clock.advance(PERIOD_MS);
    expect(late.ticks).to.have.length(0);
    expect(last.ticks).to.have.length(1);
  });
});

class Member implements Ticking {
  readonly ticks: number[] = [];

  tick(now: number): void {
    this.ticks.push(now);
  }
}
