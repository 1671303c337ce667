import { expect } from "chai";

import { LogPublisher, newEpoch } from "../../../lib/history/log-publisher.js";
import { isEpoch } from "../../../lib/pubsub/cursor.js";
import type { RedisClient } from "../../../lib/redis/client.js";
import { expectFault, faultOf } from "../../support/service.js";

interface Call {
  readonly keys: readonly string[];
  readonly maxLength: string;
  readonly maxAgeMs: string;
  readonly epoch: string;
  readonly producer: string;
  readonly sequence: number;
  readonly finite: string;
}

const event = { event: undefined, data: "x" };

/** A publisher over a Redis that answers what it is told to. */
function publisherOver(answer: () => Promise<unknown>): { publisher: LogPublisher; calls: readonly Call[] } {
  const calls: Call[] = [];
  const client = {
    status: "ready",
    redisSsePublish(...args: string[]) {
      const [position, log, , , , , epoch, maxLength, maxAgeMs, producer, sequence, , finite] =
        args.map(String);
      calls.push({
        keys: [position!, log!],
        maxLength: maxLength!,
        maxAgeMs: maxAgeMs!,
        epoch: epoch!,
        producer: producer!,
        sequence: Number(sequence),
        finite: finite!,
      });
      return answer();
    },
  } as unknown as RedisClient;
  const publisher = new LogPublisher({
    commands: () => client,
    keyPrefix: "sse:",
    policy: () => ({ maxLength: 5, maxAgeMs: 60 }),
    encodeEnvelope: () => expect.fail("no plain publish"),
  });
  return { publisher, calls };
}

const done = () => Promise.resolve(["ok", "0badcafe", "3", "2"]);

describe("LogPublisher", () => {
  it("numbers what it sends, whatever the channel, and has a name of its own", async () => {
    const [one, another] = [publisherOver(done), publisherOver(done)];
    for (const channel of ["a", "b", "a"]) await one.publisher.publish(channel, event);
    await another.publisher.publish("a", event);
    expect(one.calls.map(({ sequence }) => sequence)).to.deep.equal([1, 2, 3]);
    expect(new Set(one.calls.map(({ producer }) => producer)).size).to.equal(1);
    expect(another.calls[0]!.producer).to.not.equal(one.calls[0]!.producer);
    expect(one.calls[0]!.producer, "nothing that a script would split").to.match(/^[\w-]+$/);
  });

  it("offers an epoch, in case the log begins with this event", async () => {
    const { publisher, calls } = publisherOver(done);
    await publisher.publish("a", event);
    await publisher.publish("a", event);
    expect(calls.every(({ epoch }) => isEpoch(epoch))).to.equal(true);
    expect(calls[0]!.epoch).to.not.equal(calls[1]!.epoch);
    expect(isEpoch(newEpoch())).to.equal(true);
  });

  it("goes by the channel's bounds, or by others that it is given", async () => {
    const { publisher, calls } = publisherOver(done);
    await publisher.publish("a", event);
    await publisher.publish("a", event, { maxLength: 9 });
    expect(calls.map(({ maxLength, maxAgeMs }) => [maxLength, maxAgeMs])).to.deep.equal([
      ["5", "60"],
      ["9", "60"],
    ]);
    expect(calls[0]!.keys).to.deep.equal(["sse:pos:{a}", "sse:log:{a}"]);
  });

  it("marks a channel that is or will be completed as finite", async () => {
    const { publisher, calls } = publisherOver(done);
    await publisher.publish("a", event);
    await publisher.publish("a", event, { finite: true });
    await publisher.publish("a", event, { ending: "completed" });
    expect(calls.map(({ finite }) => finite)).to.deep.equal(["", "1", "1"]);
  });

  it("reads what the server answers", async () => {
    const position = { epoch: "0badcafe", offset: 3 };
    expect(await publisherOver(done).publisher.publish("a", event)).to.deep.equal({ position, receivers: 2 });
    const again = publisherOver(() => Promise.resolve(["ok", "0badcafe", "", "0"]));
    expect(await again.publisher.publish("a", event)).to.deep.equal({ position: null, receivers: 0 });
    const ended = publisherOver(() => Promise.resolve(["completed"]));
    expectFault(await faultOf(ended.publisher.publish("a", event)), "COMPLETED");
    const taken = publisherOver(() => Promise.resolve(["taken"]));
    expectFault(await faultOf(taken.publisher.publish("a", event)), "CHANNEL_TAKEN");
  });

  it("tells nothing of a foreign error but its kind", async () => {
    const { publisher } = publisherOver(() =>
      Promise.reject(Object.assign(new Error("OOM for redis://app:hunter2@db"), { name: "ReplyError" })),
    );
    const fault = await faultOf(publisher.publish("a", event));
    expectFault(fault, "REDIS_REFUSED");
    expect(String(fault)).to.include("OOM").and.not.include("hunter2");
  });
});
