import { expect } from "chai";

import { Backoff } from "../../../client/backoff.js";

describe("Backoff", () => {
  it("waits for the server's retry and up to a fifth more after the first failure", () => {
    for (const random of [0, 0.5, 1]) {
      const backoff = new Backoff(30_000, () => random);
      backoff.retryMs = 1_000;
      expect(backoff.next(0)).to.equal(1_000 + 200 * random);
    }
  });

  it("waits at most 2.5 s in the first minute of an outage, and then up to the maximum", () => {
    const backoff = new Backoff(30_000, () => 1);
    backoff.retryMs = 1_000;
    let now = 0;
    const waits: number[] = [];
    while (now < 200_000) {
      const wait = backoff.next(now);
      waits.push(wait);
      now += wait;
    }
    const inFirstMinute = waits.slice(1, 24);
    expect(Math.max(...inFirstMinute)).to.equal(2_500);
    expect(waits.slice(25, 29)).to.deep.equal([5_000, 10_000, 20_000, 30_000]);
    expect(waits.at(-1)).to.equal(30_000);
  });

  it("never waits less than the server asks for", () => {
    const backoff = new Backoff(30_000, () => 0);
    backoff.retryMs = 60_000;
    expect(backoff.next(0)).to.equal(60_000);
    expect(backoff.next(70_000)).to.equal(60_000);
    expect(backoff.next(80_000, 90_000)).to.equal(90_000);
  });

  it("starts again after the stream was open", () => {
    const backoff = new Backoff(30_000, () => 1);
    for (const now of [0, 70_000, 80_000]) backoff.next(now);
    backoff.reset();
    expect(backoff.next(90_000)).to.equal(2_400);
  });

  it("waits at least 100 ms, and at most as long as a timer can", () => {
    const backoff = new Backoff(30_000, () => 0);
    backoff.retryMs = 0;
    expect(backoff.next(0)).to.equal(100);
    expect(backoff.next(1, Infinity)).to.equal(2 ** 31 - 1);
    backoff.retryMs = 1e300;
    expect(backoff.next(2)).to.equal(2 ** 31 - 1);
  });

  it("waits never longer than a short maximum", () => {
    const backoff = new Backoff(500, () => 1);
    backoff.retryMs = 100;
    expect([0, 1, 70_000].map((now) => backoff.next(now))).to.deep.equal([120, 500, 500]);
  });
});
