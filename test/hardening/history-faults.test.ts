import { expect } from "chai";

import type { RedisSseOptions } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import type { SseClient } from "../support/sse-client.js";
import type { StreamApp } from "../support/stream-app.js";
import { dataOf, gapsOf, lastIdOf } from "../support/stream-harness.js";
import { codeOf, createUser, isConnected, isGap, numbers, typesOf } from "../support/fault-steps.js";

async function publishAll(app: StreamApp, channel: string, texts: readonly string[]): Promise<string[]> {
  const receipts = await Promise.all(texts.map((data) => app.service.publish(channel, { data })));
  return receipts.map(({ id }) => id!);
}

const untilData = (client: SseClient, text: string, timeoutMs = 10_000): Promise<unknown> =>
  client.next(({ data }) => data === text, timeoutMs);

describeFaults("the history of channels under faults", (rig) => {
  /** Adds an event to the history of a channel without a PUBLISH, as if a failover had lost the message. */
  async function logSilently(channel: string, offset: string, data: string): Promise<void> {
    await rig.server.admin.xadd(`sse:log:{${channel}}`, offset, "e", "", "d", data);
    await rig.server.admin.hset(`sse:pos:{${channel}}`, "o", offset);
  }

  /** Resets the history of a channel to its second event, as a failover does. */
  async function goBack(channel: string): Promise<void> {
    await rig.server.admin.del(`sse:log:{${channel}}`);
    await logSilently(channel, "2", "1");
  }

  /** An app whose connection to Redis can be cut. */
  async function startBehindProxy(
    options: RedisSseOptions = {},
  ): Promise<{ app: StreamApp; readonly whileCutOff: (happens: () => Promise<unknown>) => Promise<void> }> {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url, ...options });
    return {
      app,
      async whileCutOff(happens) {
        proxy.refuse(true);
        proxy.cut();
        await happens();
        proxy.refuse(false);
      },
    };
  }

  for (const subscriptions of ["shared", "dedicated"] as const) {
    it(`${subscriptions}: sends a gap event, then new events, if a failover resets a history`, async () => {
      const app = await rig.start({ subscriptions, history: { checkMs: 800 } });
      const [busy, quiet] = await Promise.all([app.openLive("busy"), app.openLive("quiet")]);
      for (const channel of ["busy", "quiet"]) await publishAll(app, channel, numbers(5));
      await Promise.all([busy, quiet].map((client) => untilData(client, "4")));
      for (const channel of ["busy", "quiet"]) await goBack(channel);
      await publishAll(app, "busy", ["new 1", "new 2"]);
      await untilData(busy, "new 2");
      expect(gapsOf(busy)).to.deep.equal([{ channels: ["busy"], reason: "future" }]);
      expect(dataOf(busy)).to.deep.equal([...numbers(5), "new 1", "new 2"]);
      await quiet.next(isGap);
      await publishAll(app, "quiet", ["new"]);
      await untilData(quiet, "new");
      expect(gapsOf(quiet)).to.deep.equal([{ channels: ["quiet"], reason: "future" }]);
    });
  }

  it("does not read in a loop if a stream opens with `earliest` after a failover has reset the history", async () => {
    const app = await rig.start({}, { from: "earliest" });
    const live = await app.openLive("a");
    await publishAll(app, "a", numbers(5));
    await untilData(live, "4");
    await goBack("a");
    await (await app.open("a")).next(isConnected);
    const before = (await app.service.status({ drift: false })).history.reads;
    for (let turn = 0; turn < 50; turn++) await rig.server.admin.ping();
    expect((await app.service.status({ drift: false })).history.reads - before).to.be.lessThan(10);
  });

  describe("events lost by a failover, whose positions new events reuse", () => {
    const keys = ["sse:pos:{a}", "sse:log:{a}"] as const;
    const gap = [{ channels: ["a"], reason: "future" }];
    const newEvents = numbers(9).map((number) => `new ${number}`);

    /** Saves the state of the channel in Redis. The returned function restores it. */
    async function remember(): Promise<() => Promise<void>> {
      const kept = await Promise.all(keys.map((key) => rig.server.admin.dumpBuffer(key)));
      return async () => {
        for (const [index, key] of keys.entries())
          await rig.server.admin.restore(key, 0, kept[index]!, "REPLACE");
      };
    }

    /** Publishes five events, then makes Redis lose the last three. */
    async function loseThree(app: StreamApp, taken: () => Promise<unknown>): Promise<string> {
      await publishAll(app, "a", numbers(2));
      const restore = await remember();
      const ids = await publishAll(app, "a", ["lost 2", "lost 3", "lost 4"]);
      await taken();
      await restore();
      return ids[2]!;
    }

    /** Expects a gap event, then the given events and new ones. */
    async function expectGapAnd(client: SseClient, publisher: StreamApp, behind: readonly string[], had = 0) {
      await client.next(isGap);
      await publishAll(publisher, "a", ["after"]);
      await untilData(client, "after");
      expect(gapsOf(client)).to.deep.equal(gap);
      expect(dataOf(client).slice(had)).to.deep.equal([...behind, "after"]);
    }

    for (const count of [1, 3, 6]) {
      it(`cause a gap event, then new events, for a client that resumes after new events (${count})`, async () => {
        const app = await rig.start();
        const id = await loseThree(app, () => Promise.resolve());
        await publishAll(app, "a", numbers(count));
        const client = await app.open("a", id);
        await expectGapAnd(client, app, numbers(count).slice(3));
        const again = await app.open("a", lastIdOf(client));
        await publishAll(app, "a", ["later"]);
        await untilData(again, "later");
        expect(gapsOf(again), "told once").to.deep.equal([]);
      });
    }

    for (const [what, subscriptions, isReadByAnother] of [
      ["shared: cause a gap event, then all new events once, in an open stream", "shared", false],
      ["dedicated: cause a gap event, then all new events once, in an open stream", "dedicated", false],
      ["are not sent again after another client has read them from the history", "shared", true],
    ] as const) {
      it(what, async () => {
        const app = await rig.start({ subscriptions });
        const publisher = await rig.start();
        const client = await app.openLive("a");
        await loseThree(app, async () => {
          await untilData(client, "lost 4");
          if (!isReadByAnother) return;
          const other = await app.open("a", client.events.find(({ data }) => data === "1")!.id);
          await untilData(other, "lost 4");
          other.destroy();
        });
        // Publishes at once, so that the history has grown again before the service checks it.
        await publishAll(isReadByAnother ? publisher : app, "a", newEvents);
        await untilData(client, "new 8");
        expect(gapsOf(client)).to.deep.equal(gap);
        expect(dataOf(client).slice(5)).to.deep.equal(newEvents);
      });
    }

    it("cause a gap event in an open stream whose connection to Redis was lost too", async () => {
      const { app, whileCutOff } = await startBehindProxy();
      const other = await rig.start();
      const client = await app.openLive("a");
      await loseThree(other, () => untilData(client, "lost 4"));
      await whileCutOff(() => publishAll(other, "a", newEvents));
      await expectGapAnd(client, other, newEvents.slice(3), 5);
    });

    it("cause a gap event even if the process received none of the new events at their positions", async () => {
      const app = await rig.start();
      const client = await app.openLive("a");
      await loseThree(app, () => untilData(client, "lost 4"));
      // Does what the script does, except for PUBLISH.
      const [position, log] = keys;
      let before = (await rig.server.admin.hget(position, "s"))!;
      for (const offset of [3, 4, 5]) {
        const stamp = String(1_000_000 + offset);
        await rig.server.admin.xadd(log, `${offset}-${before}${stamp}`, "e", "", "d", `unheard ${offset}`);
        before = stamp;
      }
      await rig.server.admin.hset(position, "o", "5", "s", before);
      await publishAll(app, "a", ["heard"]);
      await expectGapAnd(client, app, ["heard"], 5);
    });

    it("cause a gap event with the publisher's next event if no client received them", async () => {
      const app = await rig.start();
      const other = await rig.start();
      const [first, , third] = await publishAll(app, "a", ["0", "1", "2"]);
      const restore = await remember();
      await publishAll(app, "a", ["lost"]);
      await restore();
      const live = await app.openLive("a");
      await publishAll(other, "a", ["by another publisher"]);
      await publishAll(app, "a", ["tells"]);
      await publishAll(app, "a", ["later"]);
      const late = await app.openLive("a");
      for (const client of [live, await other.open("a", first), await other.open("a", third)]) {
        await untilData(client, "later");
        const events = client.events.slice(1).map(({ event, data }) => (event === "gap" ? event : data));
        expect(events.slice(-4)).to.deep.equal(["by another publisher", "gap", "tells", "later"]);
        expect(gapsOf(client)).to.deep.equal(gap);
      }
      const again = await app.open("a", lastIdOf(live));
      await publishAll(app, "a", ["last"]);
      for (const client of [late, again]) {
        await untilData(client, "last");
        expect(gapsOf(client)).to.deep.equal([]);
      }
    });

    it("cause one gap event if the whole history is deleted, even if several services publish", async () => {
      const app = await rig.start();
      const other = await rig.start();
      const client = await app.openLive("a");
      await publishAll(app, "a", ["0"]);
      await untilData(client, "0");
      await rig.server.admin.del(...keys);
      await publishAll(other, "a", ["1"]);
      await publishAll(app, "a", ["2"]);
      await untilData(client, "2");
      expect(gapsOf(client)).to.deep.equal([{ channels: ["a"], reason: "epoch" }]);
    });
  });

  it("sends an event whose message was lost to an open stream, even if another stream reads it first", async () => {
    const app = await rig.start({ history: { checkMs: 500 } }, { from: "earliest" });
    const client = await app.openLive("a");
    const [id] = await publishAll(app, "a", ["0"]);
    await untilData(client, "0");
    await logSilently("a", "2", "unheard");
    const other = await app.open("a");
    const again = await app.open("a", id);
    for (const each of [other, client, again]) {
      await untilData(each, "unheard");
      expect(gapsOf(each)).to.deep.equal([]);
    }
    await logSilently("a", "3", "unheard too");
    await publishAll(app, "a", ["3"]);
    await untilData(client, "3");
    expect(dataOf(client), "before anything newer").to.deep.equal(["0", "unheard", "unheard too", "3"]);
  });

  it("refuses a stream with REDIS_REFUSED if a Redis ACL rule denies reading the history", async () => {
    const redis = await createUser(rig, "allchannels", "resetkeys", "~other:*");
    const client = await (await rig.start({ redis })).open("a");
    await client.ended;
    expect(typesOf(client)).to.deep.equal(["error"]);
    expect(codeOf(client)).to.equal("REDIS_REFUSED");
    await (await rig.start({ redis, history: false })).openLive("a");
  });

  it("stores every chunk of a writer once, even if replies are lost and Redis is unavailable for long", async () => {
    const proxy = await rig.proxy();
    const app = await rig.start({ redis: proxy.url });
    const out = await app.service.writer("a", { flushMs: 0, maxBatchBytes: 1 });
    const reader = await (await rig.start()).openLive("a");
    const chunks = numbers(60).map((number) => `${number};`);
    for (const [index, chunk] of chunks.entries()) {
      if (index % 10 === 3) proxy.cutAtReply();
      if (index % 20 === 7) proxy.cut();
      const written = out.write(chunk);
      if (index === 30) {
        // Longer than ioredis retries a command by itself.
        const before = proxy.accepted;
        proxy.refuse(true);
        proxy.cut();
        await eventually(() => expect(proxy.accepted).to.be.greaterThan(before + 8), 15_000);
        proxy.refuse(false);
      }
      await written;
    }
    await out.end({ data: "end" });
    for (const each of [reader, await app.open("a")]) {
      await each.ended;
      expect(dataOf(each).join("")).to.equal(`${chunks.join("")}end`);
      expect(gapsOf(each)).to.deep.equal([]);
    }
  });

  it("sends a gap event and the end if too many events and the end were published during an outage", async () => {
    const { app, whileCutOff } = await startBehindProxy({ limits: { maxReplayEvents: 5 } });
    const other = await rig.start();
    const client = await app.openLive("a");
    await whileCutOff(async () => {
      await publishAll(other, "a", numbers(10));
      await other.service.complete("a", { data: "done" });
    });
    await client.ended;
    expect(typesOf(client)).to.deep.equal(["connected", "gap", "closing"]);
    expect(gapsOf(client)).to.deep.equal([{ channels: ["a"], reason: "limit" }]);
  });

  it("stops a replay within a page if the client leaves", async () => {
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

  it("ignores a forged position after the newest event, and sends no gap event to a new stream", async () => {
    const app = await rig.start();
    await publishAll(app, "a", ["0"]);
    const [epoch, stamp] = await rig.server.admin.hmget("sse:pos:{a}", "e", "s");
    const client = await app.openLive("a");
    await rig.server.admin.publish("a", `\u001esse1\n${epoch} 2-1234567${stamp}\n\nmade up`);
    const later = await app.openLive("a");
    await publishAll(app, "a", ["1"]);
    for (const each of [client, later]) {
      await untilData(each, "1");
      expect(gapsOf(each)).to.deep.equal([]);
    }
  });

  it("replays at most maxReplayEvents events from `earliest`, after a gap event", async () => {
    const app = await rig.start({ limits: { maxReplayEvents: 5 } }, { from: "earliest" });
    await publishAll(app, "a", numbers(8));
    const client = await app.open("a");
    await untilData(client, "7");
    expect(gapsOf(client)).to.deep.equal([{ channels: ["a"], reason: "limit" }]);
    expect(dataOf(client)).to.deep.equal(numbers(5, 3));
  });

  it("closes without waiting for writer leases if Redis is unavailable", async () => {
    const { app, whileCutOff } = await startBehindProxy({ limits: { closeTimeoutMs: 300 } });
    const out = await app.service.writer("a");
    await out.write("x");
    await whileCutOff(async () => {
      const written = out.write("y").catch(() => {});
      let closed = false;
      void app.service.close().then(() => (closed = true));
      // A lease lasts 30 s, and one attempt alone takes up to 5 s.
      await eventually(() => expect(closed).to.equal(true), 4_000);
      await written;
    });
    expect(out.closed).to.equal(true);
  });
});
