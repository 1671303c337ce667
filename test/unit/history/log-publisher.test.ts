import { expect } from "chai";

import { LogPublisher, newEpoch } from "../../../lib/history/log-publisher.js";
import { isEpoch } from "../../../lib/sse/event-id.js";
import type { RedisClient } from "../../../lib/redis/client.js";
import { FakeClock } from "../../support/fake-clock.js";
import { settle } from "../../support/eventually.js";
import { expectFault, faultOf } from "../../support/service.js";

interface Call {
  readonly keys: readonly string[];
  readonly maxLength: string;
  readonly maxAgeMs: string;
  readonly epoch: string;
  readonly producer: string;
  readonly sequence: number;
  /** State of the previous event: `+` if it is in flight, its epoch if it was acknowledged. */
  readonly previous: string;
  /** Sequence of the previous event if it is not one less; else 0. */
  readonly after: number;
  readonly finite: string;
}

const event = { event: undefined, data: "x" };

/** A publisher over a Redis whose answers the test defines. */
function publisherOver(
  answer: () => Promise<unknown>,
  clock = new FakeClock(),
): { publisher: LogPublisher; calls: readonly Call[] } {
  const calls: Call[] = [];
  const client = {
    status: "ready",
    redisSsePublish(...args: (string | undefined)[]) {
      const [position, log, , , , maxLength, producer, sequence, maxAgeMs, epoch, after, , , finite] = args;
      calls.push({
        keys: [position!, log!],
        maxLength: String(maxLength),
        maxAgeMs: String(maxAgeMs),
        epoch: epoch!.slice(0, 8),
        previous: epoch!.slice(8),
        producer: producer!,
        sequence: Number(sequence),
        after: Number(after ?? 0),
        finite: finite ?? "",
      });
      return answer();
    },
  } as unknown as RedisClient;
  const publisher = new LogPublisher({
    commands: () => client,
    clock,
    keyPrefix: "sse:",
    policy: () => ({ maxLength: 5, maxAgeMs: 60 }),
    encodeEnvelope: () => expect.fail("no plain publish"),
  });
  return { publisher, calls };
}

/** A publisher whose calls the test answers one by one. */
function publisherAnsweredByTest() {
  const answers: { resolve(reply: unknown): void; reject(error: Error): void }[] = [];
  const over = publisherOver(() => new Promise((resolve, reject) => answers.push({ resolve, reject })));
  const ok = (index: number, offset: number): void =>
    answers[index]!.resolve(["ok", "0badcafe", String(offset), 0]);
  return { ...over, answers, ok };
}

const done = () => Promise.resolve(["ok", "0badcafe", "3", 2]);

describe("LogPublisher", () => {
  it("numbers the events of each channel without holes and uses a unique producer name", async () => {
    const [one, another] = [publisherOver(done), publisherOver(done)];
    for (const channel of ["a", "b", "a", "c", "b"]) await one.publisher.publish(channel, event);
    await another.publisher.publish("a", event);
    expect(one.calls.map(({ sequence }) => sequence)).to.deep.equal([1, 2, 2, 3, 3]);
    expect(new Set(one.calls.map(({ producer }) => producer)).size).to.equal(1);
    expect(another.calls[0]!.producer).to.not.equal(one.calls[0]!.producer);
    expect(one.calls[0]!.producer, "no separator of the script").to.match(/^[\w-]+$/);
  });

  it("sends a new epoch with each event, in case this event starts the log", async () => {
    const { publisher, calls } = publisherOver(done);
    await publisher.publish("a", event);
    await publisher.publish("a", event);
    expect(calls.every(({ epoch }) => isEpoch(epoch))).to.equal(true);
    expect(calls[0]!.epoch).to.not.equal(calls[1]!.epoch);
    expect(new Set(Array.from({ length: 2_000 }, newEpoch)).size).to.be.at.least(1_999);
  });

  it("uses the channel's limits or the given ones, and marks a finite channel", async () => {
    const { publisher, calls } = publisherOver(done);
    await publisher.publish("a", event);
    await publisher.publish("a", event, { maxLength: 9, finite: true });
    const keys = ["sse:pos:{a}", "sse:log:{a}"];
    expect(calls[0]).to.deep.include({ keys, maxLength: "5", maxAgeMs: "60", finite: "" });
    expect(calls[1]).to.deep.include({ keys, maxLength: "9", maxAgeMs: "60", finite: "1" });
  });

  it("returns the position and receivers, or throws the error that the script reports", async () => {
    const position = { epoch: "0badcafe", offset: 3 };
    expect(await publisherOver(done).publisher.publish("a", event)).to.deep.equal({ position, receivers: 2 });
    const dropped = publisherOver(() => Promise.resolve(["ok", "0badcafe", "", 0]));
    expectFault(await faultOf(dropped.publisher.publish("a", event)), "REDIS_UNAVAILABLE");
    const ended = publisherOver(() => Promise.resolve(["completed"]));
    expectFault(await faultOf(ended.publisher.publish("a", event)), "COMPLETED");
    const taken = publisherOver(() => Promise.resolve(["taken"]));
    expectFault(await faultOf(taken.publisher.publish("a", event)), "CHANNEL_TAKEN");
  });

  it("marks an event whose predecessor is in flight, and resends it if it arrives too early", async () => {
    const { publisher, calls, answers, ok } = publisherAnsweredByTest();
    const first = publisher.publish("a", event);
    const second = publisher.publish("a", event);
    const elsewhere = publisher.publish("b", event);
    expect(calls.map(({ sequence, previous }) => [sequence, previous])).to.deep.equal([
      [1, ""],
      [2, "+"],
      [3, ""],
    ]);
    answers[1]!.resolve(["early"]);
    ok(2, 1);
    await elsewhere;
    expect(calls, "it waits for the previous event").to.have.length(3);
    ok(0, 1);
    expect((await first).position?.offset).to.equal(1);
    await settle();
    expect(calls.slice(3).map(({ sequence, previous }) => [sequence, previous])).to.deep.equal([
      [2, "0badcafe"],
    ]);
    ok(3, 2);
    expect((await second).position?.offset).to.equal(2);
    void publisher.publish("a", event);
    expect(calls.at(-1)).to.deep.include({ sequence: 3, previous: "0badcafe", after: 0 });
    ok(4, 3);
  });

  it("names the last acknowledged event if the previous event failed", async () => {
    const { publisher, calls, answers, ok } = publisherAnsweredByTest();
    const first = publisher.publish("a", event);
    ok(0, 1);
    await first;
    const second = faultOf(publisher.publish("a", event));
    const third = publisher.publish("a", event);
    answers[2]!.resolve(["early"]);
    answers[1]!.reject(new Error("Connection is closed."));
    await second;
    await settle();
    expect(calls.at(-1)).to.deep.include({ sequence: 3, previous: "0badcafe", after: 1 });
    ok(3, 2);
    await third;
  });

  it("names the last acknowledged event only while the log still remembers it", async () => {
    const clock = new FakeClock();
    const { publisher, calls } = publisherOver(done, clock);
    await publisher.publish("a", event);
    await publisher.publish("b", event);
    clock.advance(300_000);
    await publisher.publish("a", event);
    clock.advance(300_001);
    await publisher.publish("a", event);
    await publisher.publish("a", event, { identity: { producer: "other", sequence: 9 } });
    expect(calls.map(({ previous }) => previous)).to.deep.equal(["", "", "0badcafe", "", ""]);
  });

  it("keeps the newest acknowledged event if an older one is acknowledged later", async () => {
    const { publisher, calls, ok } = publisherAnsweredByTest();
    const both = [publisher.publish("a", event), publisher.publish("a", event)];
    ok(1, 2);
    await both[1];
    ok(0, 1);
    await both[0];
    const third = publisher.publish("a", event);
    expect(calls[2]).to.deep.include({ sequence: 3, previous: "0badcafe", after: 0 });
    ok(2, 3);
    await third;
  });

  it("remembers only the most recent channels and never reuses a sequence number on the others", async () => {
    const { publisher, calls } = publisherOver(done);
    await publisher.publish("used", event);
    for (let channel = 0; channel < 20_000; channel++) {
      await publisher.publish(`c${channel}`, event);
      if (channel % 5_000 === 0) await publisher.publish("used", event);
    }
    for (const channel of ["used", "c19999", "c0", "c1"]) await publisher.publish(channel, event);
    const known = calls.slice(-4).map(({ previous }) => previous !== "");
    expect(known).to.deep.equal([true, true, false, false]);
    const last = calls.at(-1)!.sequence;
    expect(calls.filter(({ sequence }) => sequence >= last)).to.have.length(1);
  });

  it("remembers an unanswered event even after 30,000 other channels", async () => {
    let answer!: (reply: unknown) => void;
    let isWaiting = true;
    const { publisher, calls } = publisherOver(() =>
      isWaiting ? new Promise((resolve) => ([isWaiting, answer] = [false, resolve])) : done(),
    );
    const slow = publisher.publish("slow", event);
    for (let channel = 0; channel < 30_000; channel++) await publisher.publish(`c${channel}`, event);
    await publisher.publish("slow", event);
    expect(calls.at(-1)).to.deep.include({ sequence: 2, previous: "+" });
    answer(["ok", "0badcafe", "1", 0]);
    await slow;
  });

  it("resends an early event at once if its predecessor fails", async () => {
    const { publisher, calls, answers, ok } = publisherAnsweredByTest();
    const first = faultOf(publisher.publish("a", event));
    const second = publisher.publish("a", event);
    answers[1]!.resolve(["early"]);
    answers[0]!.reject(new Error("Connection is closed."));
    expectFault(await first, "REDIS_UNAVAILABLE");
    await settle();
    ok(2, 1);
    expect((await second).position?.offset).to.equal(1);
    expect(calls).to.have.length(3);
  });
});
