import { getEventListeners } from "node:events";

import { expect } from "chai";

import { delay, withDeadline } from "../../lib/deadline.js";
import { deferred, settle } from "../support/eventually.js";
import { FakeClock } from "../support/fake-clock.js";

describe("withDeadline()", () => {
  let clock: FakeClock;

  beforeEach(() => {
    clock = new FakeClock();
  });

  it("answers what the work answers, and leaves no timer", async () => {
    const work = deferred<number>();
    const waiting = withDeadline(work.promise, { clock, timeoutMs: 100, what: "a number" });
    expect(clock.pending).to.equal(1);
    work.resolve(7);
    expect(await waiting).to.equal(7);
    expect(clock.pending).to.equal(0);
  });

  it("rejects as the work rejects, and leaves no timer", async () => {
    const fault = new Error("its own");
    const waiting = withDeadline(Promise.reject(fault), { clock, timeoutMs: 100, what: "a number" });
    expect(await rejectionOf(waiting)).to.equal(fault);
    expect(clock.pending).to.equal(0);
  });

  it("rejects with TIMEOUT at the deadline, naming what was awaited and how long", async () => {
    const waiting = withDeadline(deferred().promise, { clock, timeoutMs: 100, what: "the answer" });
    clock.advance(99);
    await settle();
    expect(clock.pending).to.equal(1);
    clock.advance(1);
    const error = await rejectionOf(waiting);
    expect(error).to.include({ code: "TIMEOUT", message: "expected the answer within 100 ms" });
    expect(clock.pending).to.equal(0);
  });

  it("ignores what the work does after the deadline, a rejection included", async () => {
    const work = deferred();
    const waiting = withDeadline(work.promise, { clock, timeoutMs: 100, what: "the answer" });
    clock.advance(100);
    await rejectionOf(waiting);
    work.reject(new Error("too late, and nobody's"));
    await settle(); // the root hook fails this test when the rejection is left unhandled
  });

  it("rejects with ABORTED as soon as its signal fires, and leaves neither timer nor listener", async () => {
    const { signal, abort } = controller();
    const waiting = withDeadline(deferred().promise, { clock, timeoutMs: 100, what: "the answer", signal });
    abort();
    expect(await rejectionOf(waiting)).to.include({ code: "ABORTED" });
    expect(clock.pending).to.equal(0);
    expect(getEventListeners(signal, "abort")).to.have.length(0);
  });

  it("rejects at once when its signal has fired before", async () => {
    const { signal, abort } = controller();
    abort();
    const waiting = withDeadline(deferred().promise, { clock, timeoutMs: 100, what: "the answer", signal });
    expect(await rejectionOf(waiting)).to.include({ code: "ABORTED" });
    expect(clock.pending).to.equal(0);
    expect(getEventListeners(signal, "abort")).to.have.length(0);
  });

  it("takes its listener from the signal when the work is done, or late", async () => {
    const { signal } = controller();
    await withDeadline(Promise.resolve(), { clock, timeoutMs: 100, what: "it", signal });
    expect(getEventListeners(signal, "abort")).to.have.length(0);
    const late = withDeadline(deferred().promise, { clock, timeoutMs: 100, what: "it", signal });
    clock.advance(100);
    await rejectionOf(late);
    expect(getEventListeners(signal, "abort")).to.have.length(0);
  });
});

describe("delay()", () => {
  it("resolves when its time has come, not before", async () => {
    const clock = new FakeClock();
    let over = false;
    const waiting = delay(clock, 50).then(() => (over = true));
    clock.advance(49);
    await settle();
    expect(over).to.equal(false);
    clock.advance(1);
    await waiting;
    expect(clock.pending).to.equal(0);
  });

  it("takes its listener from the signal when its time has come", async () => {
    const clock = new FakeClock();
    const { signal } = controller();
    const waiting = delay(clock, 50, signal);
    clock.advance(50);
    await waiting;
    expect(getEventListeners(signal, "abort")).to.have.length(0);
  });

  it("resolves early when its signal fires, and leaves neither timer nor listener", async () => {
    const clock = new FakeClock();
    const { signal, abort } = controller();
    const waiting = delay(clock, 50, signal);
    abort();
    await waiting;
    expect(clock.pending).to.equal(0);
    expect(getEventListeners(signal, "abort")).to.have.length(0);
  });

  it("resolves at once when its signal has fired before", async () => {
    const clock = new FakeClock();
    await delay(clock, 50, AbortSignal.abort());
    expect(clock.pending).to.equal(0);
  });
});

function controller(): { signal: AbortSignal; abort: () => void } {
  const source = new AbortController();
  return { signal: source.signal, abort: () => source.abort() };
}

function rejectionOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => expect.fail("expected a rejection"),
    (error: unknown) => error,
  );
}
