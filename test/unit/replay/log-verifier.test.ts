import { expect } from "chai";

import type { Position } from "../../../lib/sse/event-id.js";
import type { LogState } from "../../../lib/replay/history-port.js";
import { LogVerifier, type WatchedLog } from "../../../lib/replay/log-verifier.js";
import { LogHead, type Suspicion } from "../../../lib/replay/log-head.js";
import { settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { EPOCH, loggedEvent } from "../../support/inbound-events.js";
import { logState } from "../../support/log-state.js";

describe("LogVerifier", () => {
  const log = { offset: 0, stamp: 0 };
  const clock = new FakeClock();
  let reads: number;
  let forgotten: string[];
  let missed: (Position | null | "events")[];
  let watched: WatchedLog;
  let watch: LogVerifier;

  beforeEach(() => {
    log.offset = 0;
    log.stamp = 0;
    reads = 0;
    forgotten = [];
    missed = [];
    watched = {
      channel: "a",
      log: new LogHead(),
      missed: () => missed.push("events"),
      rolledBack: (to) => {
        missed.push(to);
        watched.log.rolledBack(to);
      },
    };
    watch = new LogVerifier({
      history: {
        keeps: () => true,
        now: () => reads,
        memoryMs: () => 0,
        beginsSilently: () => false,
        peek: () => Promise.resolve(null),
        forget: (channel) => forgotten.push(channel),
        read: (_, { offset }) =>
          Promise.resolve({
            ...tail(++reads),
            previousStamp: offset <= log.offset ? log.stamp : 0,
            events: [],
          }),
        tail: () => Promise.resolve(tail(++reads)),
      },
      clock,
      periodMs: 1_000,
      graceMs: 1,
      logs: () => [watched],
    });
    watched.log.established(reads);
    log.offset = 4;
    watched.log.note(tail(++reads));
  });

  const tail = (readAt: number): LogState => logState({ epoch: EPOCH, offset: log.offset }, { readAt });

  const hear = (offset: number): Suspicion | null => watched.log.heard(loggedEvent("a", offset), reads);

  /** Verifies a suspicion. A log that seems to have lost events is read again one second later. */
  async function verify(suspicion: Suspicion): Promise<void> {
    const verified = watch.verify(watched, suspicion);
    await settle();
    clock.advance(1_000);
    await verified;
  }

  it("reports a rollback if the log ends before an event that it contained", async () => {
    log.offset = 3;
    expect(hear(5)).to.equal(null);
    const suspicion = hear(3);
    expect(suspicion).to.deep.equal({ to: null });
    await verify(suspicion!);
    expect({ missed, forgotten }).to.deep.equal({ missed: [null], forgotten: ["a"] });
  });

  it("reports a rollback if the log has another event at a known position", async () => {
    for (const offset of [4, 5])
      watched.log.heard(loggedEvent("a", offset, { stamp: 1_000_000 + offset }), reads);
    const suspicion = watched.log.heard(
      loggedEvent("a", 4, { stamp: 1_000_009, previousStamp: 1_000_003 }),
      reads,
    );
    Object.assign(log, { offset: 7, stamp: 1_000_010 });
    await verify(suspicion!);
    expect(missed).to.deep.equal([{ epoch: EPOCH, offset: 3, stamp: 1_000_003 }]);
  });

  it("does not report a rollback if the next event marks another loss", async () => {
    for (const offset of [4, 5])
      watched.log.heard(loggedEvent("a", offset, { stamp: 1_000_000 + offset }), reads);
    const late = watched.log.heard(loggedEvent("a", 4, { stamp: 1_000_009 }), reads);
    Object.assign(log, { offset: 7, stamp: 1 });
    await verify(late!);
    expect(missed).to.deep.equal([]);
  });

  it("reads once for several events that suggest a rollback", async () => {
    hear(5);
    log.offset = 3;
    const before = reads;
    const verified = [2, 3].map((offset) => watch.verify(watched, hear(offset)!));
    await settle();
    clock.advance(1_000);
    await Promise.all(verified);
    expect({ reads: reads - before, missed }).to.deep.equal({ reads: 2, missed: [null] });
  });

  it("reads again if another event suggests a rollback during a read", async () => {
    hear(5);
    log.offset = 5;
    const verified = [watch.verify(watched, hear(4)!)];
    log.offset = 3;
    verified.push(watch.verify(watched, hear(3)!));
    await settle();
    clock.advance(1_000);
    await Promise.all(verified);
    expect(missed).to.deep.equal([null]);
  });

  it("does not report a rollback that only a replaced server shows", async () => {
    hear(5);
    log.offset = 3;
    const verified = watch.verify(watched, hear(4)!);
    await settle();
    log.offset = 5;
    clock.advance(1_000);
    await verified;
    expect(missed).to.deep.equal([]);
  });

  it("does not report a rollback after an event with a forged position", async () => {
    expect(hear(Number.MAX_SAFE_INTEGER)).to.equal(null);
    log.offset = 5;
    await verify(hear(5)!);
    expect(missed).to.deep.equal([]);
    expect(watched.log.tail?.position.offset, "the tail is known again").to.equal(5);
  });
});
