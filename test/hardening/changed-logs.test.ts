import { expect } from "chai";

import { encodeEventId, parseEventId, type EventIdEntry } from "../../lib/sse/event-id.js";
import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import type { SseClient } from "../support/sse-client.js";
import type { StreamApp } from "../support/stream-app.js";
import { dataOf, gapsOf, lastIdOf } from "../support/stream-harness.js";
import { createUser, isConnected, isGap } from "../support/fault-steps.js";

const positionOf = (channel: string): string => `sse:pos:{${channel}}`;
const logOf = (channel: string): string => `sse:log:{${channel}}`;

describeFaults("histories that are damaged or changed in Redis", (rig) => {
  const outputBytes = async (): Promise<number> =>
    Number(/total_net_output_bytes:(\d+)/.exec(await rig.server.admin.info("stats"))![1]);

  for (const [what, change] of Object.entries({
    "a position key that holds text": (channel: string) => rig.server.admin.set(positionOf(channel), "x"),
    "an offset that is too large for a number": (channel: string) =>
      rig.server.admin.hset(positionOf(channel), "o", "9007199254740993"),
    "a history that is a list": async (channel: string) => {
      await rig.server.admin.del(logOf(channel));
      await rig.server.admin.rpush(logOf(channel), "x");
    },
  })) {
    it(`send a gap event for ${what}, do not affect other channels, and start over with the next event`, async () => {
      const app = await rig.start();
      const { id } = await app.service.publish("bad", { data: "old" });
      await app.service.publish("good", { data: "old" });
      await change("bad");
      for (const lastEventId of [undefined, id!]) {
        const client = await app.open(["good", "bad"], lastEventId);
        await client.next(isConnected);
        expect(gapsOf(client)).to.deep.include({ channels: ["bad"], reason: "invalid" });
        await app.service.publish("good", { data: "new" });
        await client.next(({ data }) => data === "new");
      }
      const client = await app.open(["good", "bad"]);
      await client.next(isGap);
      const receipt = await app.service.publish("bad", { data: "begins anew" });
      await client.next(({ data }) => data === "begins anew");
      const again = await app.open(["good", "bad"], receipt.id!);
      await app.service.publish("bad", { data: "and goes on" });
      await again.next(({ data }) => data === "and goes on");
      expect(gapsOf(again).map(({ reason }) => reason)).to.not.include("invalid");
    });
  }

  it("send a gap event at the next check if the damage happens while a stream is open", async () => {
    const app = await rig.start({ history: { checkMs: 100 } });
    const client = await app.openLive("a");
    await app.service.publish("a", { data: "1" });
    await client.next(({ data }) => data === "1");
    await rig.server.admin.hset(positionOf("a"), "o", "-1");
    await client.next(isGap);
    expect(gapsOf(client)).to.deep.equal([{ channels: ["a"], reason: "invalid" }]);
    await app.service.publish("a", { data: "2" });
    await client.next(({ data }) => data === "2");
    expect(dataOf(client)).to.deep.equal(["1", "2"]);
  });

  it("send the stored events of a crashed writer while Redis is out of memory, and end the stream later", async () => {
    const app = await rig.start({ history: { checkMs: 100 } });
    const writer = await app.service.writer("a");
    await writer.write("held");
    await eventually(async () => expect(await rig.server.admin.xlen(logOf("a"))).to.equal(1));
    // As if another service had taken over the writer lease and crashed.
    await rig.server.admin.hset(positionOf("a"), "w", "somebody", "wt", "1");
    await rig.server.admin.config("SET", "maxmemory", "1");
    const client = await app.openLive("a");
    await client.next(({ data }) => data === "held");
    await rig.server.admin.config("SET", "maxmemory", "0");
    await client.next(({ event }) => event === "error");
    await client.ended;
    expect(dataOf(client)).to.deep.equal(["held"]);
    await writer.abort();
  });

  it("send less than a page of each channel if a client of 64 channels leaves at the first byte", async () => {
    const channels = Array.from({ length: 64 }, (_, index) => `c${index}`);
    const app = await rig.start();
    const data = "x".repeat(100_000);
    const entries: EventIdEntry[] = [];
    for (const channel of channels) {
      const { id } = await app.service.publish(channel, { data });
      entries.push(...parseEventId(id!)!);
      await app.service.publish(channel, { data });
    }
    const before = await outputBytes();
    (await app.open(channels, encodeEventId(entries))).destroy();
    await eventually(async () => expect((await app.service.status()).sessions.open).to.equal(0));
    expect((await outputBytes()) - before, "bytes that Redis sent").to.be.below(2_000_000);
  });

  describe("a client whose history was created and deleted while it was away", () => {
    /** Retries while Redis is unavailable, like a client that reconnects. */
    async function expectGap(app: StreamApp, channel: string, id: string): Promise<void> {
      const back = await eventually(async (): Promise<SseClient> => {
        const client = await app.open(channel, id);
        await client.next(({ event }) => event === "connected" || event === "error");
        expect(client.events[0]!.event).to.equal("connected");
        return client;
      }, 15_000);
      expect(gapsOf(back)).to.deep.equal([{ channels: [channel], reason: "epoch" }]);
    }

    it("gets a gap event after Redis restarts from a snapshot without the history", async () => {
      const app = await rig.start();
      await rig.server.admin.set("other", "1");
      await rig.server.admin.save();
      const id = await app.service.lastEventId("a");
      await app.service.publish("a", { data: "lost" });
      await rig.server.kill();
      await rig.server.boot();
      await expectGap(app, "a", id!);
    });

    it("gets a gap event after its task has finished and expired", async () => {
      const app = await rig.start();
      const channel = "task_progress:gone";
      const id = lastIdOf(await app.openLive(channel));
      app.leave();
      const queue = app.service.queue();
      await queue.enqueue("kind", null, { id: "gone", resultTtlMs: 1 });
      const worker = queue.worker(() => null);
      await eventually(async () => expect(await app.service.task("gone")).to.equal(null));
      await worker.stop();
      await expectGap(app, channel, id);
    });
  });

  it("send the new run of a task that is requeued while the process is cut off from Redis", async () => {
    const proxy = await rig.proxy();
    const cutOff = await rig.start({ redis: proxy.url, history: { checkMs: 200 } });
    const app = await rig.start();
    const queue = app.service.queue();
    let isBroken = true;
    await queue.enqueue("kind", null, { id: "again", attempts: 1 });
    const client = await cutOff.open(["task_progress:again", "other"]);
    await client.next(isConnected);
    const worker = queue.worker(() => (isBroken ? Promise.reject(new Error("no")) : null), { onError() {} });
    await client.next(({ data }) => data.includes('"failed"'));
    proxy.cut();
    isBroken = false;
    await queue.deadLetters.requeue("again");
    await client.next(({ data }) => data.includes('"succeeded"'), 10_000);
    const gaps = gapsOf(client).filter(({ channels }) => channels.includes("task_progress:again"));
    expect(gaps).to.deep.equal([]);
    await worker.stop();
  });

  it("send a gap event for a history of the wrong type, also without the right to XLEN", async () => {
    const app = await rig.start({ redis: await createUser(rig, "&*", "-xlen") });
    for (const channel of ["bad", "good"]) await app.service.publish(channel, { data: "1" });
    await rig.server.admin.set(logOf("bad"), "x");
    const client = await app.open(["good", "bad"]);
    await client.next(isGap);
    expect(gapsOf(client)).to.deep.equal([{ channels: ["bad"], reason: "invalid" }]);
    await app.service.publish("good", { data: "2" });
    await client.next(({ data }) => data === "2");
  });

  it("end the streams of a channel that another program marks as completed", async () => {
    const app = await rig.start({ history: { checkMs: 100 } });
    await app.service.publish("a", { data: "1" });
    const client = await app.openLive("a");
    await rig.server.admin.hset(positionOf("a"), "end", "completed");
    await client.ended;
    expect(client.events.at(-1)).to.include({ event: "closing", id: "completed" });
  });

  for (const [what, published, fields] of [
    ["invalid checkpoints", ["1"], { c: "garbage", r: "0" }],
    ["an offset near the maximum", ["1"], { o: "999999999999999" }],
    ["an ending without a history", [], { end: "completed" }],
    ["a writer without a history", [], { w: "somebody", wt: "99999999999999" }],
  ] as const) {
    it(`send and replay new events if the hash of the channel has ${what}`, async () => {
      const app = await rig.start();
      for (const data of published) await app.service.publish("a", { data });
      await rig.server.admin.hset(positionOf("a"), fields);
      const client = await app.openLive("a");
      for (const data of ["2", "3"]) await app.service.publish("a", { data });
      const other = await rig.start({}, { from: "earliest" });
      for (const each of [client, await other.open("a")]) await each.next(({ data }) => data === "3");
    });
  }
});
