import { expect } from "chai";

import type { CloseReason } from "../../../lib/catalogue/close-reasons.js";
import type { SessionManager } from "../../../lib/sessions/session-manager.js";
import type { Subscriptions } from "../../../lib/subscriptions/subscriptions.js";
import { deferred, settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { FakeSink } from "../../support/fake-sink.js";
import { oneStepSlices } from "../../support/one-step-slices.js";
import { recordingLog } from "../../support/recording-logger.js";
import { faultOf } from "../../support/service.js";
import { ScriptedRedis } from "../../support/scripted-redis.js";
import { createSessionManager } from "../../support/session-manager.js";

const STREAMS = 10;

class LateClock extends FakeClock {
  lateMs = 0;

  override schedule(callback: () => void, delayMs: number): () => void {
    return super.schedule(callback, delayMs + this.lateMs);
  }
}

describe("SessionManager with slices of one step", () => {
  let clock: LateClock;
  let redis: ScriptedRedis;
  let streams: SessionManager;
  let subscriptions: Subscriptions;
  let sinks: readonly FakeSink[];
  let lines: readonly string[];

  beforeEach(async () => {
    clock = new LateClock();
    redis = new ScriptedRedis();
    const recording = recordingLog(clock);
    ({ lines } = recording);
    const given = { clock, slices: oneStepSlices(), log: recording.log };
    ({ streams, subscriptions } = createSessionManager(redis, given));
    sinks = Array.from({ length: STREAMS }, () => new FakeSink());
    const opening = Promise.all(sinks.map((sink) => streams.open({}, sink, "a")));
    await settle();
    redis.answerOne();
    await settle(2 * STREAMS);
    await opening;
  });

  afterEach(async () => {
    await streams.closeAll();
    const closed = subscriptions.close();
    await settle();
    redis.answerOne();
    clock.advance(10_000);
    await closed;
    for (const { listeners } of sinks) expect(listeners).to.equal(0);
    expect(clock.pending, "timers left").to.equal(0);
  });

  const drain = (
    timeoutMs: number,
    spreadMs: number,
    beforeStreamsEnd?: () => void | Promise<void>,
  ): Promise<void> => streams.drain({ timeoutMs, spreadMs, beforeStreamsEnd });

  const ended = (): number => sinks.filter((sink) => sink.ended).length;

  /** The reasons that the clients got. */
  const reasons = (): readonly CloseReason[] =>
    sinks.map(({ events }) => {
      const { event, data } = events.at(-1)!;
      expect(event).to.equal("closing");
      return (JSON.parse(data) as { reason: CloseReason }).reason;
    });

  it("closes all streams in slices, and lets other work run in between", async () => {
    const closed = streams.closeAll();
    expect(ended()).to.equal(1);
    await settle(1);
    expect(ended()).to.equal(2);
    redis.publish("a", "last");
    await closed;
    expect(reasons()).to.deep.equal(Array(STREAMS).fill("shutdown"));
    // A stream that has not ended yet gets its events first.
    for (const { events } of sinks.slice(2)) expect(events.at(-2)).to.include({ data: "last" });
  });

  it("spreads a drain evenly over the time", async () => {
    const drained = drain(5_000, 1_000);
    const counts: number[] = [];
    for (let passed = 0; passed < 1_000; passed += 100) {
      await settle(1);
      counts.push(ended());
      clock.advance(100);
    }
    expect(counts).to.deep.equal([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    await drained;
    expect(reasons()).to.deep.equal(Array(STREAMS).fill("drain"));
  });

  it("closes all streams that are due, if a timer is late", async () => {
    clock.lateMs = 300;
    const drained = drain(5_000, 1_000);
    clock.advance(400);
    await settle(STREAMS);
    expect(ended()).to.equal(5);
    clock.advance(1_000);
    await drained;
    expect(ended()).to.equal(STREAMS);
  });

  it("ends a drain at its deadline, and then closes all remaining streams in slices", async () => {
    sinks[0]!.closesOnEnd = false;
    const drained = drain(300, 300);
    clock.lateMs = 1_000;
    clock.advance(299);
    await settle(STREAMS);
    expect(ended()).to.equal(2);
    clock.advance(1);
    await drained;
    expect(ended()).to.be.lessThan(STREAMS);
    await settle(STREAMS);
    expect(ended()).to.equal(STREAMS);
    expect(streams.statistics.open).to.equal(1);
    clock.advance(10_000);
    await settle();
    expect(streams.statistics).to.deep.include({ open: 0, closed: { drain: STREAMS } });
  });

  it('closes with reason "drain" all streams of a drain, also if the service closes at its deadline', async () => {
    const drained = drain(0, 0);
    await settle(1);
    clock.advance(0);
    await drained;
    expect(ended()).to.be.lessThan(STREAMS);
    await streams.closeAll();
    expect(reasons()).to.deep.equal(Array(STREAMS).fill("drain"));
  });

  it("leaves no timer if all clients leave before the drain has ended", async () => {
    const drained = drain(5_000, 1_000);
    for (const sink of sinks) sink.leave();
    await drained;
    expect(streams.statistics.closed).to.deep.equal({ drain: 1, "client-gone": STREAMS - 1 });
  });

  it("refuses new streams, then waits for beforeStreamsEnd(), and then ends the streams", async () => {
    expect(streams.check()).to.equal(null);
    const waiting = deferred();
    const drained = drain(5_000, 1_000, () => {
      expect(streams.check()).to.have.property("code", "CLOSED");
      return waiting.promise;
    });
    clock.advance(3_000);
    await settle(STREAMS);
    expect(streams.check()).to.have.property("code", "CLOSED");
    const sink = new FakeSink();
    expect(await faultOf(streams.open({}, sink, "a"))).to.have.property("code", "CLOSED");
    expect(sink.answered).to.have.property("status", 200);
    expect(ended()).to.equal(0);
    waiting.resolve();
    await settle(2);
    expect(ended()).to.equal(1);
    clock.advance(1_000);
    await settle(STREAMS);
    await drained;
    expect(ended()).to.equal(STREAMS);
    expect(lines.filter((line) => line.startsWith("error"))).to.deep.equal([]);
  });

  for (const [what, beforeStreamsEnd] of [
    [
      "throws",
      () => {
        throw new TypeError("no balancer");
      },
    ],
    ["rejects", () => Promise.reject(new TypeError("no balancer"))],
  ] as const) {
    it(`continues and writes an error if beforeStreamsEnd() ${what}`, async () => {
      const drained = drain(5_000, 0, beforeStreamsEnd);
      await settle(STREAMS);
      await drained;
      expect(reasons()).to.deep.equal(Array(STREAMS).fill("drain"));
      const [error] = lines.filter((line) => line.startsWith("error"));
      expect(error).to.match(/beforeStreamsEnd\(\) of drain\(\) failed.*: TypeError: no balancer/);
    });
  }

  it("waits for beforeStreamsEnd() at most for timeoutMs, and then ends all streams", async () => {
    const drained = drain(5_000, 1_000, () => new Promise(() => {}));
    clock.advance(4_999);
    await settle(STREAMS);
    expect(ended()).to.equal(0);
    clock.advance(1);
    await settle(2);
    clock.advance(0);
    await drained;
    await settle(STREAMS);
    expect(ended()).to.equal(STREAMS);
    expect(lines.filter((line) => line.startsWith("error"))).to.have.length(1);
  });

  it("spreads the ends over the rest of timeoutMs if beforeStreamsEnd() was slow", async () => {
    const waiting = deferred();
    const drained = drain(5_000, 2_000, () => waiting.promise);
    clock.advance(4_000);
    waiting.resolve();
    await settle(2);
    clock.advance(450);
    await settle(STREAMS);
    expect(ended()).to.equal(5);
    clock.advance(550);
    await drained;
    await settle(STREAMS);
    expect(ended()).to.equal(STREAMS);
  });

  it("ends the wait for beforeStreamsEnd() when the service closes", async () => {
    const drained = drain(60_000, 0, () => new Promise(() => {}));
    await settle();
    await streams.closeAll();
    await drained;
    expect(reasons()).to.deep.equal(Array(STREAMS).fill("shutdown"));
    expect(lines.filter((line) => line.startsWith("error"))).to.deep.equal([]);
  });
});
