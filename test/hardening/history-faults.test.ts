import { expect } from "chai";

import type { PubSubSession } from "../../lib/index.js";
import { eventually, repeat, settle } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import type { FakeSink } from "../support/fake-sink.js";
import { expectFault, faultOf } from "../support/service.js";
import { openStream, type SseClient } from "../support/sse-client.js";
import type { StreamApp } from "../support/stream-app.js";
import { connectedOf, dataOf, gapsOf, isEvent, lastIdOf } from "../support/stream-harness.js";

const numbers = (count: number, from = 0): string[] =>
  Array.from({ length: count }, (_, index) => String(from + index));

async function publishAll(app: StreamApp, channel: string, texts: readonly string[]): Promise<string[]> {
  const receipts = await Promise.all(texts.map((data) => app.service.publish(channel, { data })));
  return receipts.map(({ id }) => id!);
}

function resume(app: StreamApp, channel: string, id: string): Promise<SseClient> {
  return openStream(`${app.app.url}/stream?channel=${channel}`, { headers: { "Last-Event-ID": id } });
}

describeFaults("history under faults", (rig) => {
  it("the subscriber is killed again and again under 200 messages a second: no hole, no repeat, no gap", async () => {
    const app = await rig.start();
    const clients = await Promise.all(Array.from({ length: 5 }, () => app.openLive("a")));
    const sent = numbers(400);
    let next = 0;
    const publishing = repeat(async () => {
      await (next < sent.length ? app.service.publish("a", { data: sent[next++] }) : settle());
    });
    for (let kills = 0; kills < 6; kills++) {
      const at = next;
      await eventually(() => expect(next).to.be.greaterThan(Math.min(399, at + 40)));
      await rig.server.killSubscribers();
    }
    for (const client of clients) {
      await client.next(({ data }) => data === "399", 10_000);
      expect(dataOf(client)).to.deep.equal(sent);
      expect(gapsOf(client)).to.deep.equal([]);
    }
    await publishing.stop();
  });

  it("1,000 streams that miss the same events cost one read of each page, and so do 1,000 that come back", async () => {
    const app = await rig.start();
    const [first] = await publishAll(app, "a", ["first"]);
    const open = async (lastEventId?: string): Promise<{ session: PubSubSession; sink: FakeSink }> => {
      const sink = rig.sink();
      return { session: await app.service.open({ lastEventId }, sink, "a"), sink };
    };
    const live = await Promise.all(Array.from({ length: 1_000 }, () => open()));
    const missed = numbers(600);
    // Messages to nobody: the connection is away while they are published.
    await rig.server.admin.config("RESETSTAT");
    await rig.server.killSubscribers();
    await publishAll(app, "a", missed);
    await eventually(() => {
      for (const { sink } of live) expect(sink.text).to.include("data: 599\n");
    }, 15_000);
    for (const { sink } of live) {
      expect(sink.events.slice(1).map(({ data }) => data)).to.deep.equal(missed);
    }
    // 600 are three pages; those who publish call a script each, and the rest reads.
    const repairs = (await rig.server.callsOf("xrange")) / stepsOf(256);
    expect(repairs, "reads of the repair").to.be.lessThan(6);

    await rig.server.admin.config("RESETSTAT");
    const back = await Promise.all(Array.from({ length: 1_000 }, () => open(first)));
    await eventually(() => {
      for (const { sink } of back) expect(sink.text).to.include("data: 599\n");
    }, 15_000);
    for (const { sink } of back) {
      expect(sink.events.slice(1).map(({ data }) => data)).to.deep.equal(missed);
      expect(sink.text).to.include('"recovered":true');
    }
    expect((await rig.server.callsOf("xrange")) / stepsOf(256), "reads of those who are back").to.be.lessThan(
      4,
    );
  });

  it("10 MB of history reach a slow reader whole, and hold no more than may be buffered", async () => {
    const limits = { maxBufferedBytes: 512 * 1024 };
    const app = await rig.start({ limits, history: { maxLength: 2_000 } });
    const payload = "x".repeat(50_000);
    const [first] = await publishAll(app, "a", ["first"]);
    for (let batch = 0; batch < 10; batch++) {
      await publishAll(
        app,
        "a",
        numbers(20, batch * 20).map((number) => `${number} ${payload}`),
      );
    }
    const sink = rig.sink();
    sink.takes = false;
    const session = await app.service.open({ lastEventId: first }, sink, "a");
    let held = 0;
    let taken = 0;
    let last = "";
    while (!sink.text.slice(-2 * payload.length).includes("data: 199 ")) {
      const before = sink.text.length;
      sink.step();
      // One write for each step: nothing is sent ahead of what the client takes.
      await eventually(() => expect(sink.text.length).to.be.greaterThan(before));
      expect(sink.text.length - before).to.be.lessThan(4 * payload.length);
      held = Math.max(held, session.statistics.bufferedBytes);
      // What comes live meanwhile waits in the log as well.
      if (taken++ % 50 === 0) await publishAll(app, "a", [(last = `live ${taken}`)]);
    }
    sink.drain();
    await eventually(() => expect(sink.text).to.include(`data: ${last}\n`));
    const seen = sink.events.slice(1).map(({ data }) => data.split(" ")[0]);
    expect(seen.filter((number) => number !== "live")).to.deep.equal(numbers(200));
    expect(sink.events.map(({ event }) => event)).to.not.include("gap");
    expect(held).to.be.lessThan(limits.maxBufferedBytes);
  });

  it("a client that leaves during its replay stops it within a page", async () => {
    const app = await rig.start();
    const [first] = await publishAll(app, "a", numbers(1_000));
    const sink = rig.sink();
    sink.takes = false;
    const session = await app.service.open({ lastEventId: first }, sink, "a");
    sink.step();
    await eventually(() => expect(sink.text).to.include("data: 1\n"));
    await rig.server.admin.config("RESETSTAT");
    sink.leave();
    await session.closed;
    const { length } = sink.text;
    await publishAll(app, "a", ["after"]);
    expect(sink.text.length).to.equal(length);
    expect(await rig.server.callsOf("xrange")).to.equal(0);
  });

  it("more is published during an outage than is kept: a gap, then what there is", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url, history: { maxLength: 10 } });
    const other = await rig.start({ history: { maxLength: 10 } });
    const client = await app.openLive("a");
    proxy.refuse(true);
    proxy.cut();
    await publishAll(other, "a", numbers(25));
    proxy.refuse(false);
    await client.next(({ data }) => data === "24", 10_000);
    expect(gapsOf(client)).to.deep.equal([{ channels: ["a"], reason: "trimmed" }]);
    expect(client.events.map(({ event }) => event).slice(0, 2)).to.deep.equal(["connected", "gap"]);
    expect(dataOf(client)).to.deep.equal(numbers(10, 15));
  });

  it("FLUSHALL while streams are live: a gap with the next event, or when it is looked for, and all goes on", async () => {
    const app = await rig.start({ history: { checkMs: 500 } });
    const [busy, quiet] = await Promise.all([app.openLive("busy"), app.openLive("quiet")]);
    await publishAll(app, "busy", ["1"]);
    await publishAll(app, "quiet", ["1"]);
    await quiet.next(({ data }) => data === "1");
    await rig.server.admin.flushall();
    await publishAll(app, "busy", ["2", "3"]);
    await busy.next(({ data }) => data === "3");
    expect(busy.events.map(({ event, data }) => (event === "gap" ? "gap" : data)).slice(1)).to.deep.equal([
      "1",
      "gap",
      "2",
      "3",
    ]);
    expect(gapsOf(busy)).to.deep.equal([{ channels: ["busy"], reason: "epoch" }]);
    // Nothing is published here, and it is found all the same.
    await quiet.next(isEvent("gap"));
    expect(gapsOf(quiet)).to.deep.equal([{ channels: ["quiet"], reason: "epoch" }]);
    const id = lastIdOf(quiet);
    await publishAll(app, "quiet", ["2"]);
    await quiet.next(({ data }) => data === "2");
    const again = await resume(app, "quiet", id);
    await again.next(({ data }) => data === "2");
    expect(connectedOf(again).recovered).to.equal(true);
    again.destroy();
  });

  it("more is missed of a channel than may be replayed, and it has ended meanwhile: a gap, and the end", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url, limits: { maxReplayEvents: 5 } });
    const other = await rig.start();
    const client = await app.openLive("a");
    proxy.refuse(true);
    proxy.cut();
    await publishAll(other, "a", numbers(10));
    await other.service.complete("a", { data: "end" });
    proxy.refuse(false);
    await client.ended;
    expect(client.events.map(({ event }) => event)).to.deep.equal(["connected", "gap", "closing"]);
    expect(gapsOf(client)).to.deep.equal([{ channels: ["a"], reason: "limit" }]);
  });

  for (const subscriptions of ["shared", "dedicated"] as const) {
    it(`${subscriptions}: a log that goes back while streams are live, as after a failover: a gap, then what is new`, async () => {
      const app = await rig.start({ subscriptions, history: { checkMs: 800 } });
      const [busy, quiet] = await Promise.all([app.openLive("busy"), app.openLive("quiet")]);
      for (const channel of ["busy", "quiet"]) await publishAll(app, channel, numbers(5));
      await Promise.all([busy, quiet].map((client) => client.next(({ data }) => data === "4")));
      // The last three are lost, and the connections stay.
      for (const channel of ["busy", "quiet"]) {
        await rig.server.admin.del(`sse:log:{${channel}}`);
        await rig.server.admin.xadd(`sse:log:{${channel}}`, "2", "e", "", "d", "1");
        await rig.server.admin.hset(`sse:pos:{${channel}}`, "o", "2");
      }
      await publishAll(app, "busy", ["new 1", "new 2"]);
      await busy.next(({ data }) => data === "new 2");
      expect(gapsOf(busy)).to.deep.equal([{ channels: ["busy"], reason: "future" }]);
      expect(dataOf(busy)).to.deep.equal([...numbers(5), "new 1", "new 2"]);
      await quiet.next(isEvent("gap"));
      await publishAll(app, "quiet", ["new"]);
      await quiet.next(({ data }) => data === "new");
      expect(gapsOf(quiet)).to.deep.equal([{ channels: ["quiet"], reason: "future" }]);
    });
  }

  describe("events that a failover has lost, and others at their places", () => {
    const keys = ["sse:pos:{a}", "sse:log:{a}"];

    /** Publishes five events, of which Redis then has only the first two. */
    async function loseThree(app: StreamApp, taken: () => Promise<unknown>): Promise<string> {
      await publishAll(app, "a", numbers(2));
      const kept = await Promise.all(keys.map((key) => rig.server.admin.dumpBuffer(key)));
      await publishAll(app, "a", ["lost 2", "lost 3"]);
      const { id } = await app.service.publish("a", { data: "lost 4" });
      await taken();
      for (const [index, key] of keys.entries())
        await rig.server.admin.restore(key, 0, kept[index]!, "REPLACE");
      return id!;
    }
    const gap = [{ channels: ["a"], reason: "future" }];

    for (const count of [1, 3, 6]) {
      it(`a client that returns after ${count} new events gets a gap, then what is new`, async () => {
        const app = await rig.start();
        const id = await loseThree(app, () => Promise.resolve());
        await publishAll(app, "a", numbers(count));
        const client = await resume(app, "a", id);
        await client.next(isEvent("gap"));
        await publishAll(app, "a", ["after"]);
        await client.next(({ data }) => data === "after");
        expect(gapsOf(client)).to.deep.equal(gap);
        expect(dataOf(client)).to.deep.equal([...numbers(count).slice(3), "after"]);
        const again = await resume(app, "a", lastIdOf(client));
        await publishAll(app, "a", ["later"]);
        await again.next(({ data }) => data === "later");
        expect(gapsOf(again), "told once").to.deep.equal([]);
        client.destroy();
        again.destroy();
      });
    }

    for (const subscriptions of ["shared", "dedicated"] as const) {
      it(`${subscriptions}: an open stream gets a gap, then all new events, each once`, async () => {
        const app = await rig.start({ subscriptions });
        const client = await app.openLive("a");
        await loseThree(app, () => client.next(({ data }) => data === "lost 4"));
        const events = numbers(9).map((number) => `new ${number}`);
        // At once: the log is longer than it was, before anybody looks at it.
        await publishAll(app, "a", events);
        await client.next(({ data }) => data === "new 8");
        expect(gapsOf(client)).to.deep.equal(gap);
        expect(dataOf(client).slice(5)).to.deep.equal(events);
        client.destroy();
      });
    }

    it("lost events that another client has just read from the log come no second time", async () => {
      const app = await rig.start();
      const publisher = await rig.start();
      const client = await app.openLive("a");
      await loseThree(app, async () => {
        await client.next(({ data }) => data === "lost 4");
        const other = await resume(app, "a", client.events.find(({ data }) => data === "1")!.id!);
        await other.next(({ data }) => data === "lost 4");
        other.destroy();
      });
      const events = numbers(9).map((number) => `new ${number}`);
      await publishAll(publisher, "a", events);
      await client.next(({ data }) => data === "new 8");
      expect(gapsOf(client)).to.deep.equal(gap);
      expect(dataOf(client).slice(5)).to.deep.equal(events);
      client.destroy();
    });

    it("an open stream whose connection to Redis was lost meanwhile gets a gap", async () => {
      const proxy = await rig.proxy();
      const app = await rig.start({ redis: proxy.url });
      const other = await rig.start();
      const client = await app.openLive("a");
      await loseThree(other, () => client.next(({ data }) => data === "lost 4"));
      proxy.refuse(true);
      proxy.cut();
      await publishAll(other, "a", numbers(9));
      proxy.refuse(false);
      await client.next(isEvent("gap"));
      await publishAll(other, "a", ["after"]);
      await client.next(({ data }) => data === "after");
      expect(gapsOf(client)).to.deep.equal(gap);
      expect(dataOf(client).slice(5)).to.deep.equal([...numbers(9).slice(3), "after"]);
      client.destroy();
    });

    it("an open stream gets a gap though none of the new events at the lost places reached its process", async () => {
      const app = await rig.start();
      const client = await app.openLive("a");
      await loseThree(app, () => client.next(({ data }) => data === "lost 4"));
      // As the script does, but for the messages, which are lost.
      const [position, log] = keys as [string, string];
      const [epoch] = await rig.server.admin.hmget(position, "e");
      let before = (await rig.server.admin.hget(position, "s"))!;
      for (const offset of [3, 4, 5]) {
        const stamp = String(1_000_000 + offset);
        await rig.server.admin.xadd(log, `${offset}-${before}${stamp}`, "e", "", "d", `unheard ${offset}`);
        before = stamp;
      }
      await rig.server.admin.hset(position, "e", epoch!, "o", "5", "s", before);
      await publishAll(app, "a", ["heard"]);
      await client.next(isEvent("gap"));
      await publishAll(app, "a", ["after"]);
      await client.next(({ data }) => data === "after");
      expect(gapsOf(client)).to.deep.equal(gap);
      expect(dataOf(client).slice(5)).to.deep.equal(["heard", "after"]);
      client.destroy();
    });

    it("events that no client got are told as a gap with the publisher's next event", async () => {
      const app = await rig.start();
      const other = await rig.start();
      const [first, , third] = await publishAll(app, "a", ["0", "1", "2"]);
      const kept = await Promise.all(keys.map((key) => rig.server.admin.dumpBuffer(key)));
      await publishAll(app, "a", ["lost"]);
      for (const [index, key] of keys.entries())
        await rig.server.admin.restore(key, 0, kept[index]!, "REPLACE");
      const live = await app.openLive("a");
      await publishAll(other, "a", ["by another publisher"]);
      await publishAll(app, "a", ["tells"]);
      await publishAll(app, "a", ["later"]);
      const late = await app.openLive("a");
      const clients = [live, await resume(other, "a", first!), await resume(other, "a", third!)];
      for (const client of clients) {
        await client.next(({ data }) => data === "later");
        const events = client.events.slice(1).map(({ event, data }) => (event === "gap" ? event : data));
        expect(events.slice(-4)).to.deep.equal(["by another publisher", "gap", "tells", "later"]);
        expect(gapsOf(client)).to.deep.equal(gap);
      }
      const again = await resume(app, "a", lastIdOf(live));
      await publishAll(app, "a", ["last"]);
      for (const client of [late, again]) {
        await client.next(({ data }) => data === "last");
        expect(gapsOf(client)).to.deep.equal([]);
      }
      for (const client of [...clients, late, again]) client.destroy();
    });

    it("a log that is gone as a whole is told once, whoever publishes", async () => {
      const app = await rig.start();
      const other = await rig.start();
      const client = await app.openLive("a");
      await publishAll(app, "a", ["0"]);
      await client.next(({ data }) => data === "0");
      await rig.server.admin.del(...keys);
      await publishAll(other, "a", ["1"]);
      await publishAll(app, "a", ["2"]);
      await client.next(({ data }) => data === "2");
      expect(gapsOf(client)).to.deep.equal([{ channels: ["a"], reason: "epoch" }]);
      client.destroy();
    });

    it("a writer whose last chunk is lost ends with STREAM_LOST, and its readers get a gap and BROKEN", async () => {
      const app = await rig.start({ history: { checkMs: 100 } });
      const writer = await app.service.writer("a");
      const client = await app.openLive("a");
      await writer.write("0");
      await client.next(({ data }) => data === "0");
      const kept = await Promise.all(keys.map((key) => rig.server.admin.dumpBuffer(key)));
      await writer.write("lost");
      await client.next(({ data }) => data === "lost");
      for (const [index, key] of keys.entries())
        await rig.server.admin.restore(key, 0, kept[index]!, "REPLACE");
      await writer.write("1");
      expectFault(await faultOf(writer.end()), "STREAM_LOST");
      await client.ended;
      expect(client.events.slice(1).map(({ event }) => event)).to.deep.equal([
        "message",
        "message",
        "gap",
        "error",
        "closing",
      ]);
    });
  });

  it("an event whose message was lost reaches an open stream, though another stream reads it first", async () => {
    const app = await rig.start({ history: { checkMs: 500 } });
    const client = await app.openLive("a");
    const [id] = await publishAll(app, "a", ["0"]);
    await client.next(({ data }) => data === "0");
    await rig.server.admin.xadd("sse:log:{a}", "2", "e", "", "d", "unheard");
    await rig.server.admin.hset("sse:pos:{a}", "o", "2");
    const other = await resume(app, "a", "earliest");
    await other.next(({ data }) => data === "unheard");
    await client.next(({ data }) => data === "unheard");
    const again = await resume(app, "a", id!);
    await again.next(({ data }) => data === "unheard");
    expect([client, other, again].flatMap(gapsOf)).to.deep.equal([]);
    for (const each of [client, other, again]) each.destroy();
  });

  it("a made-up place behind the newest event delays nothing, and a new stream has no gap", async () => {
    const app = await rig.start();
    const [epoch, stamp] = await publishAll(app, "a", ["0"]).then(() =>
      rig.server.admin.hmget("sse:pos:{a}", "e", "s"),
    );
    const client = await app.openLive("a");
    await rig.server.admin.publish("a", `\u001esse1\n${epoch} 2-1234567${stamp}\n\nmade up`);
    const later = await app.openLive("a");
    await publishAll(app, "a", ["1"]);
    for (const each of [client, later]) {
      await each.next(({ data }) => data === "1");
      expect(gapsOf(each)).to.deep.equal([]);
      each.destroy();
    }
  });

  it("a log that has gone back, and a stream from its beginning: no read after the other without a pause", async () => {
    const app = await rig.start();
    const live = await app.openLive("a");
    await publishAll(app, "a", numbers(5));
    await live.next(({ data }) => data === "4");
    await rig.server.admin.del("sse:log:{a}");
    await rig.server.admin.xadd("sse:log:{a}", "2", "e", "", "d", "1");
    await rig.server.admin.hset("sse:pos:{a}", "o", "2");
    const client = await resume(app, "a", "earliest");
    await client.next(isEvent("connected"));
    const before = (await app.service.status({ drift: false })).history.reads;
    for (let turn = 0; turn < 50; turn++) await rig.server.admin.ping();
    expect((await app.service.status({ drift: false })).history.reads - before).to.be.lessThan(10);
    client.destroy();
  });

  it("a message that Redis dropped without a word is found, and sent before anything newer", async () => {
    const app = await rig.start({ history: { checkMs: 500 } });
    const client = await app.openLive("a");
    await publishAll(app, "a", ["1"]);
    await client.next(({ data }) => data === "1");
    // In the log, and to nobody: what a server does to a message on its way through a failover.
    await rig.server.admin.xadd("sse:log:{a}", "2", "e", "", "d", "2");
    await rig.server.admin.hset("sse:pos:{a}", "o", "2");
    await client.next(({ data }) => data === "2");
    await rig.server.admin.xadd("sse:log:{a}", "3", "e", "", "d", "3");
    await rig.server.admin.hset("sse:pos:{a}", "o", "3");
    await publishAll(app, "a", ["4"]);
    await client.next(({ data }) => data === "4");
    expect(dataOf(client)).to.deep.equal(["1", "2", "3", "4"]);
    expect(gapsOf(client)).to.deep.equal([]);
  });

  it("the event loop is blocked for seconds while all is cut and much is published: nothing is missing after", async () => {
    const app = await rig.start();
    const client = await app.openLive("a");
    const publisher = rig.server.admin.duplicate({ connectionName: "test:publisher" });
    rig.undo(() => publisher.quit());
    await publishAll(app, "a", ["0"]);
    await rig.server.admin.config("SET", "client-output-buffer-limit", "pubsub 256kb 128kb 1");
    // A second process that publishes while this one stands still.
    const other = await rig.start();
    const sent = numbers(300, 1);
    for (const data of sent) void other.service.publish("a", { data: `${data} ${"x".repeat(5_000)}` });
    const until = performance.now() + 3_000;
    while (performance.now() < until);
    await client.next(({ data }) => data.startsWith("300 "), 15_000);
    expect(dataOf(client).map((data) => data.split(" ")[0])).to.deep.equal(["0", ...sent]);
    expect(gapsOf(client)).to.deep.equal([]);
  });

  it("the log cannot be read in the middle of a replay: the stream waits, and goes on where it was", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url });
    const [first] = await publishAll(app, "a", numbers(1_000));
    const sink = rig.sink();
    sink.takes = false;
    const session = await app.service.open({ lastEventId: first }, sink, "a");
    sink.step();
    await eventually(() => expect(sink.text).to.include("data: 1\n"));
    proxy.refuse(true);
    proxy.cut();
    sink.drain();
    await eventually(() => expect(sink.events.length).to.be.greaterThan(200));
    expect(session.state).to.equal("subscribed");
    proxy.refuse(false);
    await eventually(() => expect(sink.text).to.include("data: 999\n"), 15_000);
    expect(sink.events.slice(1).map(({ data }) => data)).to.deep.equal(numbers(999, 1));
  });

  it("the log may not be read: the stream is refused with a code, and nothing is held", async () => {
    await rig.server.admin.acl("SETUSER", "app", "on", ">pw", "allcommands", "allchannels", "~other:*");
    const app = await rig.start({ redis: `redis://app:pw@127.0.0.1:${rig.server.port}` });
    const client = await app.open("a");
    await client.ended;
    expect(
      client.events.map(({ event, data }) => [event, (JSON.parse(data) as { code: string }).code]),
    ).to.deep.equal([["error", "REDIS_REFUSED"]]);
    const without = await rig.start({
      redis: `redis://app:pw@127.0.0.1:${rig.server.port}`,
      history: false,
    });
    await without.openLive("a");
  });

  it("a writer whose answers are lost with their connection, and who is cut off: every chunk is there once", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url });
    const out = await app.service.writer("a", { flushMs: 0, maxBatchBytes: 1 });
    const reader = await (await rig.start()).openLive("a");
    const chunks = numbers(60).map((number) => `${number};`);
    for (const [index, chunk] of chunks.entries()) {
      if (index % 10 === 3) proxy.cutAtReply();
      if (index % 20 === 7) proxy.cut();
      await out.write(chunk);
    }
    await out.end({ data: "end" });
    await reader.ended;
    const late = await app.open("a");
    await late.ended;
    for (const each of [reader, late]) {
      expect(dataOf(each).join("")).to.equal(`${chunks.join("")}end`);
      expect(gapsOf(each)).to.deep.equal([]);
    }
  });

  it("a service that closes while Redis is away does not wait for its writers' leases", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url, limits: { closeTimeoutMs: 300 } });
    const out = await app.service.writer("a");
    await out.write("x");
    proxy.refuse(true);
    proxy.cut();
    const written = out.write("y").catch(() => {});
    let closed = false;
    void app.service.close().then(() => (closed = true));
    // A lease is 30 s, and an attempt alone takes up to 5.
    await eventually(() => expect(closed).to.equal(true), 4_000);
    await written;
    expect(out.closed).to.equal(true);
  });

  it("the end of a channel is told while nobody hears: its streams end all the same", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url });
    const other = await rig.start();
    const client = await app.openLive("a");
    proxy.refuse(true);
    proxy.cut();
    await other.service.complete("a", { data: "done" });
    proxy.refuse(false);
    await client.ended;
    expect(dataOf(client)).to.deep.equal(["done"]);
    expect(client.events.at(-1)!.event).to.equal("closing");
  });

  it("`earliest` on a long log: as much as may be replayed to each of 50 clients, in pages, behind a gap", async () => {
    const app = await rig.start({ history: { maxLength: 100_000 }, limits: { maxReplayEvents: 500 } });
    const fill = `for offset = 1, 100000 do redis.call('XADD', KEYS[1], offset, 'e', '', 'd', offset) end
      redis.call('HSET', KEYS[2], 'e', '0a0b0c0d', 'o', '100000')`;
    await rig.server.admin.eval(fill, 2, "sse:log:{a}", "sse:pos:{a}");
    await rig.server.admin.config("RESETSTAT");
    const clients = await Promise.all(Array.from({ length: 50 }, () => resume(app, "a", "earliest")));
    for (const client of clients) {
      await client.next(({ data }) => data === "100000");
      expect(gapsOf(client)).to.deep.equal([{ channels: ["a"], reason: "limit" }]);
      expect(dataOf(client)).to.deep.equal(numbers(500, 99_501));
      client.destroy();
    }
    // Two pages, and one to see where the log begins.
    expect((await rig.server.callsOf("xrange")) / stepsOf(256), "reads").to.be.lessThan(6);
  });

  it("a last event id of 20 KB is refused by Node; one of 12 KB is malformed, and costs Redis nothing", async () => {
    const app = await rig.start();
    const live = await app.openLive("a");
    const url = `${app.app.url}/stream?channel=a`;
    const tooLong = await openStream(url, { headers: { "Last-Event-ID": "A".repeat(20_000) } });
    expect(tooLong.status).to.equal(431);
    await rig.server.admin.config("RESETSTAT");
    const client = await openStream(url, { headers: { "Last-Event-ID": `1.${"A".repeat(12_000)}` } });
    await client.next(isEvent("gap"));
    expect(gapsOf(client)).to.deep.equal([{ channels: ["a"], reason: "malformed" }]);
    expect(await rig.server.callsOf("evalsha")).to.equal(0);
    client.destroy();
    live.destroy();
  });
});

/** How many XRANGE a page of so many small events takes: in steps of 2, 4, 8, ... and 64 at most. */
function stepsOf(events: number): number {
  let steps = 0;
  for (let rest = events, step = 2; rest > 0; rest -= step, step = Math.min(64, 2 * step)) steps++;
  return steps;
}
