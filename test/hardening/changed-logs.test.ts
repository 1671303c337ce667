import { expect } from "chai";

import { encodeCursor, parseCursor, type CursorEntry } from "../../lib/pubsub/cursor.js";
import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { openStream } from "../support/sse-client.js";
import { dataOf, gapsOf } from "../support/stream-harness.js";

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
    const entries: CursorEntry[] = [];
    for (const channel of channels) {
      const { id } = await app.service.publish(channel, { data });
      entries.push(...parseCursor(id!)!);
      await app.service.publish(channel, { data });
    }
    const before = await outputBytes();
    const client = await openStream(`${app.app.url}/stream?${query(channels)}`, {
      headers: { "Last-Event-ID": encodeCursor(entries) },
    });
    client.destroy();
    await eventually(async () => expect((await app.service.status()).sessions.open).to.equal(0));
    expect((await outputBytes()) - before, "bytes that Redis sent").to.be.below(2_000_000);
  });
});
