import { expect } from "chai";

import { encodeEventId, parseEventId, type EventIdEntry } from "../../lib/sse/event-id.js";
import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import type { SseClient } from "../support/sse-client.js";
import type { StreamApp } from "../support/stream-app.js";
import { dataOf, gapsOf, lastIdOf } from "../support/stream-harness.js";
import { createUser, isConnected, isGap, openFrom } from "../support/fault-steps.js";

const positionOf = (channel: string): string => `sse:pos:{${channel}}`;
const logOf = (channel: string): string => `sse:log:{${channel}}`;

describeFaults("damaged logs, and many logs, in Redis", (rig) => {
  const outputBytes = async (): Promise<number> =>
    Number(/total_net_output_bytes:(\d+)/.exec(await rig.server.admin.info("stats"))![1]);

  for (const [what, change] of Object.entries({
    "a position that is text": (channel: string) => rig.server.admin.set(positionOf(channel), "x"),
    "an offset that no number holds": (channel: string) =>
      rig.server.admin.hset(positionOf(channel), "o", "9007199254740993"),
    "a log that is a list": async (channel: string) => {
      await rig.server.admin.del(logOf(channel));
      await rig.server.admin.rpush(logOf(channel), "x");
    },
  })) {
    it(`${what}: its channel gets a gap, the other channels go on, and the next event begins a new log`, async () => {
      const app = await rig.start();
      const { id } = await app.service.publish("bad", { data: "old" });
      await app.service.publish("good", { data: "old" });
      await change("bad");
      for (const lastEventId of [undefined, id!]) {
        const client = await openFrom(rig, app, ["good", "bad"], lastEventId);
        await client.next(isConnected);
        expect(gapsOf(client)).to.deep.include({ channels: ["bad"], reason: "invalid" });
        await app.service.publish("good", { data: "new" });
        await client.next(({ data }) => data === "new");
      }
      const client = await openFrom(rig, app, ["good", "bad"]);
      await client.next(isGap);
      const receipt = await app.service.publish("bad", { data: "begins anew" });
      await client.next(({ data }) => data === "begins anew");
      const again = await openFrom(rig, app, ["good", "bad"], receipt.id!);
      await app.service.publish("bad", { data: "and goes on" });
      await again.next(({ data }) => data === "and goes on");
      expect(gapsOf(again).map(({ reason }) => reason)).to.not.include("invalid");
    });
  }

  it("a log that is damaged while a stream is open: a gap with the next check, then new events", async () => {
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

  it("Redis is out of memory: a stream whose writer died gets the events that are held, and its end later", async () => {
    const app = await rig.start({ history: { checkMs: 100 } });
    const writer = await app.service.writer("a");
    await writer.write("held");
    await eventually(async () => expect(await rig.server.admin.xlen(logOf("a"))).to.equal(1));
    // Another service took it over, and is gone.
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

  it("a client of many channels that leaves at the first byte costs Redis a page, not one of each channel", async () => {
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
    (await openFrom(rig, app, channels, encodeEventId(entries))).destroy();
    await eventually(async () => expect((await app.service.status()).sessions.open).to.equal(0));
    expect((await outputBytes()) - before, "bytes that Redis sent").to.be.below(2_000_000);
  });

  describe("a client that had seen no log, and one that has come and gone since, is told a gap:", () => {
    /** Redis may be away still: then the client is sent away, and comes back. */
    async function expectGap(app: StreamApp, channel: string, id: string): Promise<void> {
      const back = await eventually(async (): Promise<SseClient> => {
        const client = await openFrom(rig, app, channel, id);
        await client.next(({ event }) => event === "connected" || event === "error");
        expect(client.events[0]!.event).to.equal("connected");
        return client;
      }, 15_000);
      expect(gapsOf(back)).to.deep.equal([{ channels: [channel], reason: "epoch" }]);
    }

    it("a restart from a snapshot without the log", async () => {
      const app = await rig.start();
      await rig.server.admin.set("other", "1");
      await rig.server.admin.save();
      const id = await app.service.lastEventId("a");
      await app.service.publish("a", { data: "lost" });
      await rig.server.kill();
      await rig.server.boot();
      await expectGap(app, "a", id!);
    });

    it("a task that was done", async () => {
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

  it("a task that runs again while its stream's process is cut off: the stream gets the new run", async () => {
    const proxy = await rig.proxy();
    const cutOff = await rig.start({ redis: proxy.url, history: { checkMs: 200 } });
    const app = await rig.start();
    const queue = app.service.queue();
    let isBroken = true;
    await queue.enqueue("kind", null, { id: "again", attempts: 1 });
    const client = await openFrom(rig, cutOff, ["task_progress:again", "other"]);
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

  it("a user without the right to XADD is refused, and takes nothing from the log", async () => {
    const app = await rig.start();
    for (const data of ["1", "2"]) await app.service.publish("a", { data });
    const weak = await rig.start({ redis: await createUser(rig, "&*", "-xadd") });
    for (const options of [{}, { finite: true }]) {
      const fault = await weak.service.publish("a", { data: "3" }, options).catch((error: unknown) => error);
      expect(fault).to.have.property("code", "REDIS_REFUSED");
    }
    expect(await rig.server.admin.xlen(logOf("a"))).to.equal(2);
  });

  it("a user without the right to XLEN: a log of another type is told as a gap, and the others live", async () => {
    const app = await rig.start({ redis: await createUser(rig, "&*", "-xlen") });
    for (const channel of ["bad", "good"]) await app.service.publish(channel, { data: "1" });
    await rig.server.admin.set(logOf("bad"), "x");
    const client = await openFrom(rig, app, ["good", "bad"]);
    await client.next(isGap);
    expect(gapsOf(client)).to.deep.equal([{ channels: ["bad"], reason: "invalid" }]);
    await app.service.publish("good", { data: "2" });
    await client.next(({ data }) => data === "2");
  });

  it("an end that another program has put beside a log ends the streams of its channel", async () => {
    const app = await rig.start({ history: { checkMs: 100 } });
    await app.service.publish("a", { data: "1" });
    const client = await app.openLive("a");
    await rig.server.admin.hset(positionOf("a"), "end", "completed");
    await client.ended;
    expect(client.events.at(-1)).to.include({ event: "closing", id: "completed" });
  });

  for (const [what, published, fields] of [
    ["checkpoints that are none", ["1"], { c: "garbage", r: "0" }],
    ["an offset that leaves no room", ["1"], { o: "999999999999999" }],
    ["an end without a log", [], { end: "completed" }],
    ["a writer without a log", [], { w: "somebody", wt: "99999999999999" }],
  ] as const) {
    it(`${what} in the hash of a channel: what is published next is heard, and can be read`, async () => {
      const app = await rig.start();
      for (const data of published) await app.service.publish("a", { data });
      await rig.server.admin.hset(positionOf("a"), fields);
      const client = await app.openLive("a");
      for (const data of ["2", "3"]) await app.service.publish("a", { data });
      for (const each of [client, await openFrom(rig, app, "a", "earliest")])
        await each.next(({ data }) => data === "3");
    });
  }
});
