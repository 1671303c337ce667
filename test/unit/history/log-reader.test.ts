import { expect } from "chai";

import { LogReader } from "../../../lib/history/log-reader.js";
import { Slices } from "../../../lib/slices.js";
import { settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { dataOf, ScriptedLog } from "../../support/scripted-log.js";
import { expectFault, faultOf } from "../../support/service.js";

interface Event {
  readonly offset: number;
  readonly size: number;
}

const MAX_LENGTH = 20;

describe("LogReader", () => {
  let log: ScriptedLog;
  let clock: FakeClock;
  let reader: LogReader<Event>;
  let size: number;
  let epoch: string;

  beforeEach(() => {
    log = new ScriptedLog();
    clock = new FakeClock();
    size = 100;
    const client = log.connect();
    reader = new LogReader<Event>({
      commands: () => client,
      keyPrefix: "sse:",
      policy: (channel) => (channel === "none" ? null : { maxLength: MAX_LENGTH, maxAgeMs: 60_000 }),
      clock,
      slices: new Slices(clock),
      serverRun: () => Promise.resolve({ id: 7, mayHaveLost: false }),
      maxPageBytes: 100_000,
      maxCachedBytes: 8_000_000,
      toEvent: (_, { offset }, { data }) => {
        expect(data).to.equal(dataOf("c", epoch, offset));
        return { offset, size };
      },
      sizeOf: (event) => event.size,
    });
    log.publish("c");
    epoch = log.current("c")!.epoch;
    for (let offset = 2; offset <= 5; offset++) log.publish("c");
  });

  const read = (offset: number, since = reader.now(), top = 5) =>
    reader.read("c", { epoch, offset }, { since, top: { epoch, offset: top } });

  /** Answers all reads until none is left. */
  async function answered<T>(reading: Promise<T>): Promise<T> {
    for (await settle(1); log.answer(0); await settle(1));
    return reading;
  }

  it("reads a page and the position of the log", async () => {
    const page = await answered(read(2));
    expect(page.events.map(({ offset }) => offset)).to.deep.equal([3, 4, 5]);
    expect(page).to.deep.include({
      position: { epoch, offset: 5, stamp: 1_000_005 },
      previousStamp: 1_000_002,
      ending: null,
      finite: false,
      readAt: 1,
    });
    expect(reader.now()).to.equal(1);
  });

  it("does not parse all pages in the turn in which Redis answers them", async () => {
    const turns: number[] = [];
    let turn = 0;
    const parsed = Promise.all(
      Array.from({ length: 40 }, (_, offset) => read(offset).then(() => turns.push(turn))),
    );
    await settle(1);
    while (log.answer(0));
    for (; turns.length < 40; turn++) await settle(1);
    await parsed;
    const most = Math.max(...turns.map((each) => turns.filter((other) => other === each).length));
    expect(most).to.be.at.most(32);
    expect(turns.at(-1)).to.be.greaterThan(0);
  });

  it("reads a page once for all concurrent calls", async () => {
    const pages = await answered(Promise.all([read(2, 0), read(2, 0), read(2, 0)]));
    expect(pages[1]).to.equal(pages[0]);
    expect(reader.statistics).to.deep.equal({ reads: 1, shared: 2 });
  });

  it("returns the cached page for a few seconds, even if new events were published", async () => {
    const first = await answered(read(2));
    log.publish("c");
    const second = await read(2, reader.now(), 6);
    expect(second).to.equal(first);
    expect(log.reads).to.equal(1);
  });

  it("reads another page for another offset, epoch or channel", async () => {
    await answered(read(2));
    expect((await answered(read(3))).events).to.have.length(2);
    const known = { since: reader.now(), top: { epoch, offset: 5 } };
    expect((await answered(reader.read("c", { epoch: "ffffffff", offset: 2 }, known))).events).to.have.length(
      0,
    );
    expect((await answered(reader.read("d", { epoch, offset: 2 }, known))).events).to.have.length(0);
    expect(log.reads).to.equal(4);
  });

  it("reads again from Redis if the last page reached the end of the log", async () => {
    expect((await answered(read(5))).events).to.deep.equal([]);
    log.publish("c");
    const page = await answered(read(5));
    expect(page.events.map(({ offset }) => offset)).to.deep.equal([6]);
    expect(log.reads).to.equal(2);
  });

  it("reads again if a read that started too early returns no events", async () => {
    const early = read(5);
    await settle(1);
    log.execute(0);
    log.publish("c");
    // Needs a read that starts after this point. The pending read started earlier.
    const late = read(5, reader.now());
    const [, page] = await answered(Promise.all([early, late]));
    expect(page.events.map(({ offset }) => offset)).to.deep.equal([6]);
    expect(page.readAt).to.equal(2);
    expect(reader.statistics).to.deep.equal({ reads: 2, shared: 0 });
  });

  it("does not use a cached page if the events after it may be gone", async () => {
    await answered(read(0));
    await read(0, reader.now(), MAX_LENGTH + 5);
    expect(log.reads, "the next events still exist").to.equal(1);
    await answered(read(0, reader.now(), MAX_LENGTH + 6));
    expect(log.reads, "the next events may be gone").to.equal(2);
  });

  it("drops cached pages after some seconds and then keeps no timer", async () => {
    await answered(read(2));
    expect(clock.pending).to.equal(1);
    clock.advance(4_000);
    await answered(read(3));
    clock.advance(1_000);
    expect(clock.pending, "the newer page is still cached").to.equal(1);
    await read(3);
    await answered(read(2));
    expect(log.reads).to.equal(3);
    clock.advance(10_000);
    expect(clock.pending).to.equal(0);
    await answered(read(3));
    expect(log.reads).to.equal(4);
  });

  it("caches at most `maxCachedBytes` of pages and drops the oldest first", async () => {
    size = 1_000_000;
    await answered(read(2)); // 3 MB
    await answered(read(3)); // 2 MB
    await answered(read(2));
    await answered(read(1)); // 4 MB
    expect(log.reads).to.equal(3);
    await read(3);
    await read(1);
    expect(log.reads, "these pages are cached").to.equal(3);
    await answered(read(2));
    expect(log.reads, "this page is not cached").to.equal(4);
  });

  it("rejects all callers of a failed read with a library error, and reads again for the next call", async () => {
    const reading = [read(2, 0), read(2, 0)].map(faultOf);
    await settle(1);
    log.fail(0, new Error("Connection is closed. redis://app:hunter2@db"));
    for (const fault of await Promise.all(reading)) {
      expectFault(fault, "REDIS_UNAVAILABLE");
      expect(String(fault)).to.not.include("hunter2");
    }
    expect((await answered(read(2))).events).to.have.length(3);
  });

  it("returns a cached page from peek() without reading from Redis", async () => {
    const place = { epoch, offset: 2 };
    expect(await reader.peek("c", place, { epoch, offset: 5 })).to.equal(null);
    const page = await answered(read(2));
    expect(await reader.peek("c", place, { epoch, offset: 5 })).to.equal(page);
    expect(await reader.peek("c", { epoch, offset: 3 }, { epoch, offset: 5 }), "another place").to.equal(
      null,
    );
    expect(
      await reader.peek("c", place, { epoch, offset: 5 + MAX_LENGTH + 1 }),
      "the next events may be gone",
    ).to.equal(null);
    expect(log.reads).to.equal(1);
  });

  it("reads a page again if the log lost the page's last event, or after forget()", async () => {
    await answered(read(2, 0));
    const known = { since: reader.now(), top: { epoch, offset: 4 } };
    await answered(reader.read("c", { epoch, offset: 2 }, known));
    expect(log.reads, "a shorter log").to.equal(2);
    const other = { since: reader.now(), top: { epoch, offset: 5, stamp: 1_999_999 } };
    await answered(reader.read("c", { epoch, offset: 2 }, other));
    expect(log.reads, "another event at its place").to.equal(3);
    await answered(read(2));
    expect(log.reads, "the same log").to.equal(3);
    reader.forget("c");
    await answered(read(2));
    expect(log.reads, "forgotten").to.equal(4);
  });

  describe("tail()", () => {
    it("reads the position of the log once for all concurrent calls", async () => {
      const [one, another] = await answered(Promise.all([reader.tail("c", 0), reader.tail("c", 0)]));
      const position = { epoch, offset: 5, stamp: 1_000_005 };
      expect(one).to.deep.equal({
        position,
        ending: null,
        finite: false,
        first: 1,
        at: 1_000,
        isInvalid: false,
        run: 7,
        mayHaveLost: false,
        readAt: 1,
      });
      expect(another).to.equal(one);
      expect(reader.statistics).to.deep.equal({ reads: 1, shared: 1 });
    });

    it("returns the time of the read if the channel has no log", async () => {
      const none = await answered(reader.tail("nobody", 0));
      expect(none.position).to.deep.equal({ epoch: "", offset: 0, since: 1_000, run: 7 });
    });

    it("reads again if the caller needs a newer answer than the pending read", async () => {
      const early = reader.tail("c", 0);
      await settle(1);
      log.execute(0);
      log.publish("c");
      const [, late] = await answered(Promise.all([early, reader.tail("c", reader.now())]));
      expect(late).to.deep.include({ position: { epoch, offset: 6, stamp: 1_000_006 }, readAt: 2 });
    });

    it("returns a cached state within `maxAgeMs`, except before `since` or after a loss", async () => {
      const { readAt } = await answered(reader.tail("c", 0));
      clock.advance(900);
      expect(await reader.tail("c", 0, 1_000)).to.have.property("readAt", readAt);
      expect(await answered(reader.tail("c", readAt, 1_000)), "read after `since`").to.have.property(
        "readAt",
        2,
      );
      clock.advance(1_000);
      expect(await answered(reader.tail("c", 0, 1_000)), "too old").to.have.property("readAt", 3);
      reader.forget("c");
      expect(await answered(reader.tail("c", 0, 1_000)), "lost").to.have.property("readAt", 4);
      clock.advance(10_000);
      expect(clock.pending).to.equal(0);
    });

    it("reads again without `maxAgeMs`, and after an error", async () => {
      await answered(reader.tail("c", 0));
      const failing = faultOf(reader.tail("c", 0));
      await settle(1);
      log.fail(0, new Error("Connection is closed."));
      expectFault(await failing, "REDIS_UNAVAILABLE");
      expect((await answered(reader.tail("c", 0))).readAt).to.equal(3);
    });
  });

  describe("close()", () => {
    it("drops all cached pages and leaves no timer", async () => {
      await answered(read(2));
      reader.close();
      expect(clock.pending).to.equal(0);
      await answered(read(2));
      expect(log.reads).to.equal(2);
      expect(clock.pending, "nor later").to.equal(0);
    });

    it("does not cache the result of a pending read", async () => {
      const reading = read(2);
      await settle(1);
      reader.close();
      expect((await answered(reading)).events).to.have.length(3);
      expect(clock.pending).to.equal(0);
    });
  });
});
