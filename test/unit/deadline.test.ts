import { getEventListeners } from "node:events";

import { expect } from "chai";

import { delay, withDeadline } from "../../lib/deadline.js";
import { deferred, settle } from "../support/eventually.js";
import { FakeClock } from "../support/fake-clock.js";
import { expectFault, faultOf } from "../support/service.js";

describe("withDeadline()", () => {
  let clock: FakeClock;
  let stopping: AbortController;

  beforeEach(() => {
    clock = new FakeClock();
    stopping = new AbortController();
  });

  afterEach(() => {
    expect(clock.pending, "timers").to.equal(0);
    expect(getEventListeners(stopping.signal, "abort"), "listeners").to.have.length(0);
  });

  const wait = <T>(work: Promise<T>): Promise<T> =>
    withDeadline(work, { clock, timeoutMs: 100, what: "the answer", signal: stopping.signal });

  it("resolves and rejects like the work", async () => {
    expect(await wait(Promise.resolve(7))).to.equal(7);
    const fault = new Error("its own");
    expect(await faultOf(wait(Promise.reject(fault)))).to.equal(fault);
  });

  it("rejects with TIMEOUT at the deadline and names the work and the timeout", async () => {
    const fault = faultOf(wait(deferred().promise));
    clock.advance(99);
    await settle();
    expect(clock.pending).to.equal(1);
    clock.advance(1);
    expect(await fault).to.include({
      code: "TIMEOUT",
      message: "Timed out after 100 ms while waiting for the answer.",
    });
  });

  it("ignores the result of the work after the deadline, also a rejection", async () => {
    const work = deferred();
    const fault = faultOf(wait(work.promise));
    clock.advance(100);
    await fault;
    work.reject(new Error("too late, and nobody's"));
    await settle(); // The root hook fails this test if the rejection is unhandled.
  });

  it("rejects with ABORTED if its signal aborts or has already aborted", async () => {
    const fault = faultOf(wait(deferred().promise));
    stopping.abort();
    expectFault(await fault, "ABORTED");
    expectFault(await faultOf(wait(deferred().promise)), "ABORTED");
  });
});

describe("delay()", () => {
  it("resolves after exactly the delay and leaves no listener", async () => {
    const clock = new FakeClock();
    const { signal } = new AbortController();
    let over = false;
    const waiting = delay(clock, 50, signal).then(() => (over = true));
    clock.advance(49);
    await settle();
    expect(over).to.equal(false);
    clock.advance(1);
    await waiting;
    expect(getEventListeners(signal, "abort")).to.have.length(0);
  });

  it("resolves early if its signal aborts or has already aborted", async () => {
    const clock = new FakeClock();
    const stopping = new AbortController();
    const waiting = delay(clock, 50, stopping.signal);
    stopping.abort();
    await waiting;
    await delay(clock, 50, stopping.signal);
    expect(clock.pending).to.equal(0);
    expect(getEventListeners(stopping.signal, "abort")).to.have.length(0);
  });
});
