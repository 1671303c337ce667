import { expect } from "chai";

import { encodeEventId, parseEventId, type EventIdEntry } from "../../lib/sse/event-id.js";
import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { openStream, type SseClient } from "../support/sse-client.js";
import type { StreamApp } from "../support/stream-app.js";
import { dataOf, gapsOf, lastIdOf } from "../support/stream-harness.js";

const positionOf = (channel: string): string => `sse:pos:{${channel}}`;
const logOf = (channel: string): string => `sse:log:{${channel}}`;

describeFaults("damaged logs, and many logs, in Redis", (rig) => {
  const outputBytes = async (): Promise<number> =>
    Number(/total_net_output_bytes:(\d+)/.exec(await rig.server.admin.info("stats"))![1]);

  const query = (channels: readonly string[]): string =>
    channels.map((channel) => `channel=${encodeURIComponent(channel)}`).join("&");

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
      const url = `${app.app.url}/stream?${query(["good", "bad"])}`;
      for (const headers of [{}, { "Last-Event-ID": id! }]) {
        const client = await openStream(url, { headers });
        await client.next(({ event }) => event === "connected");
        expect(gapsOf(client)).to.deep.include({ channels: ["bad"], reason: "invalid" });
        await app.service.publish("good", { data: "new" });
        await client.next(({ data }) => data === "new");
        client.destroy();
      }
      const client = await openStream(url);
      await client.next(({ event }) => event === "gap");
      const receipt = await app.service.publish("bad", { data: "begins anew" });
      await client.next(({ data }) => data === "begins anew");
      const again = await openStream(url, { headers: { "Last-Event-ID": receipt.id! } });
      await app.service.publish("bad", { data: "and goes on" });
      await again.next(({ data }) => data === "and goes on");
      expect(gapsOf(again).map(({ reason }) => reason)).to.not.include("invalid");
      client.destroy();
      again.destroy();
    });
  }

  it("a log that is damaged while a stream is open: a gap with the next check, then new events", async () => {
    const app = await rig.start({ history: { checkMs: 100 } });
    await app.service.publish("a", { data: "1" });
    const client = await app.openLive("a");
    await app.service.publish("a", { data: "2" });
    await client.next(({ data }) => data === "2");
    await rig.server.admin.hset(positionOf("a"), "o", "-1");
    await client.next(({ event }) => event === "gap");
    expect(gapsOf(client)).to.deep.equal([{ channels: ["a"], reason: "invalid" }]);
    await app.service.publish("a", { data: "3" });
    await client.next(({ data }) => data === "3");
    expect(dataOf(client)).to.deep.equal(["2", "3"]);
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

  it("1,000 streams of channels that never had an event leave no key", async () => {
    const app = await rig.start({ limits: { subscribeTimeoutMs: 20_000 } });
    const names = Array.from({ length: 1_000 }, (_, index) => `quiet:${index}`);
    await Promise.all(names.map((name) => app.service.open({}, rig.sink(), name)));
    expect(await rig.server.admin.dbsize()).to.equal(0);
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
    const client = await openStream(`${app.app.url}/stream?${query(channels)}`, {
      headers: { "Last-Event-ID": encodeEventId(entries) },
    });
    client.destroy();
    await eventually(async () => expect((await app.service.status()).sessions.open).to.equal(0));
    expect((await outputBytes()) - before, "bytes that Redis sent").to.be.below(2_000_000);
  });

  it("a restart from a snapshot without the log: a client that had seen no log is told a gap", async () => {
    const app = await rig.start();
    await rig.server.admin.set("other", "1");
    await rig.server.admin.save();
    const id = await app.service.lastEventId("a");
    await app.service.publish("a", { data: "lost" });
    await rig.server.kill();
    await rig.server.boot();
    const back = await eventuallyResumed(app, "a", id!);
    expect(gapsOf(back)).to.deep.equal([{ channels: ["a"], reason: "epoch" }]);
    back.destroy();
  });

  it("a task that has come and gone: a client that had seen no log of it is told a gap", async () => {
    const app = await rig.start();
    const channel = "task_progress:gone";
    const first = await app.openLive(channel);
    const id = lastIdOf(first);
    first.destroy();
    const queue = app.service.queue();
    await queue.enqueue("kind", null, { id: "gone", resultTtlMs: 1 });
    const worker = queue.worker(() => null);
    await eventually(async () => expect(await app.service.task("gone")).to.equal(null));
    await worker.stop();
    const back = await eventuallyResumed(app, channel, id);
    expect(gapsOf(back)).to.deep.equal([{ channels: [channel], reason: "epoch" }]);
    back.destroy();
  });

  it("a task whose log another program has changed is enqueued and run", async () => {
    const app = await rig.start();
    const [position, log] = ["sse:pos:{tasks}:task_progress:odd", "sse:log:{tasks}:task_progress:odd"];
    for (const change of [
      () => rig.server.admin.set(position, "x"),
      () => rig.server.admin.hset(position, "e", "xyz"),
      () => rig.server.admin.hset(position, "end", "completed"),
      () => rig.server.admin.set(log, "x"),
    ]) {
      await rig.server.admin.flushall();
      await change();
      const watcher = await app.openLive("task_progress:odd");
      const queue = app.service.queue();
      await queue.enqueue("kind", null, { id: "odd" });
      const worker = queue.worker(() => null);
      await eventually(async () =>
        expect((await app.service.task("odd"))?.task.status).to.equal("succeeded"),
      );
      await worker.stop();
      watcher.destroy();
    }
  });

  it("a task that runs again while its stream's process is cut off: the stream gets the new run", async () => {
    const proxy = await rig.proxy();
    const cutOff = await rig.start({ redis: proxy.url, history: { checkMs: 200 } });
    const app = await rig.start();
    const queue = app.service.queue();
    let isBroken = true;
    await queue.enqueue("kind", null, { id: "again", attempts: 1 });
    const client = await openStream(`${cutOff.app.url}/stream?${query(["task_progress:again", "other"])}`);
    await client.next(({ event }) => event === "connected");
    const worker = queue.worker(() => (isBroken ? Promise.reject(new Error("no")) : null), { onError() {} });
    await client.next(({ data }) => data.includes('"failed"'));
    proxy.cut();
    isBroken = false;
    await queue.deadLetters.requeue("again");
    await eventually(async () =>
      expect((await app.service.task("again"))?.task.status).to.equal("succeeded"),
    );
    await client.next(({ data }) => data.includes('"succeeded"'), 10_000);
    expect(gapsOf(client).filter(({ channels }) => channels.includes("task_progress:again"))).to.deep.equal(
      [],
    );
    await worker.stop();
    client.destroy();
  });

  it("a user without the right to XADD is refused, and takes nothing from the log", async () => {
    const app = await rig.start();
    for (const data of ["1", "2"]) await app.service.publish("a", { data });
    const rights = ["on", ">pw", "~*", "&*", "+@all", "-xadd"];
    await rig.server.admin.call("ACL", "SETUSER", "weak", ...rights);
    const weak = await rig.start({ redis: { port: rig.server.port, username: "weak", password: "pw" } });
    for (const options of [{}, { finite: true }]) {
      const fault = await weak.service.publish("a", { data: "3" }, options).catch((error: unknown) => error);
      expect(fault).to.have.property("code", "REDIS_REFUSED");
    }
    expect(await rig.server.admin.xlen(logOf("a"))).to.equal(2);
  });

  it("an end that another program has put beside a log ends the streams of its channel", async () => {
    const app = await rig.start({ history: { checkMs: 100 } });
    await app.service.publish("a", { data: "1" });
    const client = await app.openLive("a");
    await rig.server.admin.hset(positionOf("a"), "end", "completed");
    await client.ended;
    expect(client.events.at(-1)).to.include({ event: "closing", id: "completed" });
  });

  for (const [what, fields] of Object.entries({
    "checkpoints that are none": { c: "garbage", r: "0" },
    "an offset that leaves no room": { o: "999999999999999" },
  })) {
    it(`${what} keep no event from being published and read`, async () => {
      const app = await rig.start();
      await app.service.publish("a", { data: "1" });
      await rig.server.admin.hset(positionOf("a"), fields);
      const client = await app.openLive("a");
      for (const data of ["2", "3"]) await app.service.publish("a", { data });
      await client.next(({ data }) => data === "3");
      const late = await openStream(`${app.app.url}/stream?channel=a&lastEventId=earliest`);
      await late.next(({ data }) => data === "3");
      late.destroy();
    });
  }

  for (const fields of [{ end: "completed" }, { w: "somebody", wt: "99999999999999" }]) {
    it(`a hash with only ${Object.keys(fields).join(" and ")} is no log: the next event begins one`, async () => {
      const app = await rig.start();
      await rig.server.admin.hset(positionOf("a"), fields);
      const client = await app.openLive("a");
      await app.service.publish("a", { data: "1" });
      await client.next(({ data }) => data === "1");
    });
  }

  it("a user without the right to XLEN: a log of another type is told as a gap, and the others live", async () => {
    const rights = ["on", ">pw", "~*", "&*", "+@all", "-xlen"];
    await rig.server.admin.call("ACL", "SETUSER", "weak", ...rights);
    const app = await rig.start({ redis: { port: rig.server.port, username: "weak", password: "pw" } });
    for (const channel of ["bad", "good"]) await app.service.publish(channel, { data: "1" });
    await rig.server.admin.set(logOf("bad"), "x");
    const client = await openStream(`${app.app.url}/stream?${query(["good", "bad"])}`);
    await client.next(({ event }) => event === "gap");
    expect(gapsOf(client)).to.deep.equal([{ channels: ["bad"], reason: "invalid" }]);
    await app.service.publish("good", { data: "2" });
    await client.next(({ data }) => data === "2");
    client.destroy();
  });

  /** Redis may be away still: then the client is sent away, and comes back. */
  async function eventuallyResumed(app: StreamApp, channel: string, id: string): Promise<SseClient> {
    let client!: SseClient;
    await eventually(async () => {
      client = await openStream(`${app.app.url}/stream?${query([channel])}`, {
        headers: { "Last-Event-ID": id },
      });
      await client.next(({ event }) => event === "connected" || event === "error");
      expect(client.events[0]!.event).to.equal("connected");
    }, 15_000);
    return client;
  }
});
