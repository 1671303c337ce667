import { randomUUID } from "node:crypto";

import { expect } from "chai";

import type { PubSubSession, RedisSse } from "../../lib/index.js";
import { parseEventId, tagOf, type EventIdEntry } from "../../lib/sse/event-id.js";
import { lastIdIn } from "../support/event-reader.js";
import { eventually } from "../support/eventually.js";
import { FakeSink } from "../support/fake-sink.js";
import { expectFault, faultOf } from "../support/service.js";
import {
  connectedOf,
  dataOf,
  gapsOf,
  isEvent,
  lastIdOf,
  useStreams,
  type Subscriptions,
} from "../support/stream-harness.js";
import type { TestApp } from "../support/test-app.js";
import type { SuiteRedis } from "./stream-suite.js";

/** Tests what a resumed client gets, on any Redis and in both subscription modes. */
export function describeResume(
  name: string,
  subscriptions: Subscriptions,
  startRedis: (context: Mocha.Context) => Promise<SuiteRedis>,
): void {
  describe(`resume on ${name} (${subscriptions})`, () => {
    const streams = useStreams(subscriptions, startRedis);
    let channel: string;
    let service: RedisSse;
    let app: TestApp;

    beforeEach(async () => {
      channel = `resume:${randomUUID()}`;
      service = streams.create();
      app = await streams.mount(service);
    });

    async function publishAll(service: RedisSse, to: string, texts: readonly string[]): Promise<string[]> {
      const receipts = await Promise.all(texts.map((data) => service.publish(to, { data })));
      return receipts.map(({ id }) => id!);
    }

    it("replays missed events to a client that has not received any event yet", async () => {
      const first = await streams.openLive(app, channel);
      const id = lastIdOf(first);
      expect(id).to.match(/^3\.[\w-]+$/);
      first.destroy();
      await publishAll(service, channel, ["a", "b", "c"]);
      const second = await streams.open(app, channel, id);
      await second.next(({ data }) => data === "c");
      expect(dataOf(second)).to.deep.equal(["a", "b", "c"]);
      expect(connectedOf(second)).to.deep.include({ recovered: true });
      expect(second.events[0]!.event).to.equal("connected");
    });

    it("creates no key for a channel without events, and its client misses no later event", async () => {
      const channels = ["x", "y"].map((end) => `${channel}:${end}`);
      const first = await streams.openLive(app, channels);
      const id = lastIdOf(first);
      first.destroy();
      const again = await streams.openLive(app, channels, id);
      expect(connectedOf(again).recovered).to.equal(true);
      expect(gapsOf(again)).to.deep.equal([]);
      again.destroy();
      expect(await service.lastEventId(channels)).to.match(/^3\./);
      expect(await streams.raw.keys(`*${channel}*`)).to.deep.equal([]);
      await publishAll(service, channels[1]!, ["y1", "y2"]);
      // One process has received events of the channel, the other has not.
      for (const mounted of [app, await streams.mount(streams.create())]) {
        const back = await streams.open(mounted, channels, id);
        await back.next(({ data }) => data === "y2");
        expect(dataOf(back)).to.deep.equal(["y1", "y2"]);
        expect(gapsOf(back)).to.deep.equal([]);
        expect(connectedOf(back).recovered).to.equal(true);
      }
    });

    it("resumes from an id of version 1", async () => {
      const [, id] = await publishAll(service, channel, ["a", "b", "c"]);
      const [{ tag, epoch, offset }] = parseEventId(id!) as [EventIdEntry];
      const bytes = Buffer.alloc(7);
      bytes.writeUInt16BE(((tag >>> 16) ^ tag) & 0xffff, 0);
      bytes.write(epoch, 2, "hex");
      bytes[6] = offset;
      const client = await streams.open(app, channel, `1.${bytes.toString("base64url")}`);
      await client.next(({ data }) => data === "c");
      expect(dataOf(client)).to.deep.equal(["c"]);
      expect(gapsOf(client)).to.deep.equal([]);
    });

    it("never confuses two channels, even if their tags and the epochs of their logs are the same", async () => {
      const channels = ["channel:62vu", "channel:duea"] as const;
      expect(tagOf(channels[0])).to.equal(tagOf(channels[1]));
      const [ids] = await Promise.all([
        publishAll(service, channels[0], ["x1", "x2", "x3"]),
        publishAll(service, channels[1], ["y1"]),
      ]);
      const both = await service.lastEventId(channels);
      await publishAll(service, channels[0], ["x4"]);
      await publishAll(service, channels[1], ["y2"]);
      const app = await streams.mount(streams.create());
      const apart = await streams.open(app, channels, both!);
      await apart.next(({ data }) => data === "x4");
      await apart.next(({ data }) => data === "y2");
      expect(dataOf(apart).toSorted()).to.deep.equal(["x4", "y2"]);
      expect(gapsOf(apart)).to.deep.equal([]);
      apart.destroy();
      // Logs of an earlier version can have the same epoch.
      const [{ epoch }] = parseEventId(ids[0]!) as [EventIdEntry];
      await streams.raw.hset(`sse:pos:{${channels[1]}}`, "e", epoch);
      const other = await streams.mount(streams.create());
      const mixed = await streams.openLive(other, channels, (await streams.create().lastEventId(channels))!);
      const told = gapsOf(mixed).flatMap((gap) => gap.channels);
      expect(told.toSorted()).to.deep.equal([...channels].toSorted());
    });

    it("resumes after any event, with the id of the event or of its receipt", async () => {
      const first = await streams.openLive(app, channel);
      const ids = await publishAll(service, channel, ["0", "1", "2", "3", "4"]);
      await first.next(({ data }) => data === "4");
      expect(first.events.slice(1).map(({ id }) => id)).to.deep.equal(ids);
      for (const [index, id] of ids.entries()) {
        const again = await streams.openLive(app, channel, id);
        await service.publish(channel, { event: "mark", data: index });
        await again.next(({ event, data }) => event === "mark" && data === String(index));
        const seen = again.events.filter(isEvent("message")).map(({ data }) => Number(data));
        expect(seen).to.deep.equal([1, 2, 3, 4].slice(index));
        again.destroy();
      }
    });

    it("resumes all channels with one id, each at its position", async () => {
      const channels = ["x", "y", "z"].map((end) => `${channel}:${end}`);
      const first = await streams.openLive(app, channels);
      await publishAll(service, channels[0]!, ["x1", "x2"]);
      await publishAll(service, channels[1]!, ["y1"]);
      await first.next(({ data }) => data === "x2");
      await first.next(({ data }) => data === "y1");
      const id = lastIdOf(first);
      first.destroy();
      await publishAll(service, channels[2]!, ["z1"]);
      await publishAll(service, channels[0]!, ["x3"]);
      // The order of the channels in the request does not matter.
      const second = await streams.open(app, [channels[2]!, channels[0]!, channels[1]!], id);
      await second.next(({ data }) => data === "x3");
      await second.next(({ data }) => data === "z1");
      expect(dataOf(second).toSorted()).to.deep.equal(["x3", "z1"]);
      expect(connectedOf(second).recovered).to.equal(true);
    });

    it("reads the id from the query, and prefers the header", async () => {
      const ids = await publishAll(service, channel, ["a", "b", "c"]);
      const url = `${app.url}/stream?channel=${channel}&lastEventId=${ids[0]!}`;
      const byQuery = await streams.openUrl(url);
      await byQuery.next(({ data }) => data === "c");
      expect(dataOf(byQuery)).to.deep.equal(["b", "c"]);
      const byHeader = await streams.openUrl(url, { "Last-Event-ID": ids[1]! });
      await byHeader.next(({ data }) => data === "c");
      expect(dataOf(byHeader)).to.deep.equal(["c"]);
      const appended = await streams.openUrl(`${url}&lastEventId=${ids[1]!}&lastEventId=`);
      await appended.next(({ data }) => data === "c");
      expect(dataOf(appended)).to.deep.equal(["c"]);
      expect(gapsOf(appended)).to.deep.equal([]);
      const asObject = await streams.openUrl(`${url}&lastEventId[x]=1`);
      expect((await asObject.next(isEvent("gap"))).data).to.include("malformed");
    });

    it("returns the current id of several channels from lastEventId()", async () => {
      const service = streams.create({ history: { channels: { "*:none": false } } });
      const app = await streams.mount(service);
      const channels = [channel, `${channel}:2`, `${channel}:none`];
      await publishAll(service, channel, ["in the page"]);
      const id = await service.lastEventId(channels);
      await publishAll(service, channel, ["after"]);
      await publishAll(service, `${channel}:2`, ["also after"]);
      // Another process that has not received any event yet.
      const other = await streams.mount(streams.create({ history: { channels: { "*:none": false } } }));
      for (const each of [app, other]) {
        const client = await streams.open(each, channels, id!);
        await client.next(({ data }) => data === "also after");
        await client.next(({ data }) => data === "after");
        expect(dataOf(client).toSorted()).to.deep.equal(["after", "also after"]);
        expect(connectedOf(client).recovered).to.equal(true);
      }
      expect(await service.lastEventId(`${channel}:none`)).to.equal(null);
      expectFault(await faultOf(service.lastEventId("a\nb")), "INVALID_CHANNEL");
      const many = Array.from({ length: 65 }, (_, index) => `${channel}:${index}`);
      expectFault(await faultOf(service.lastEventId(many)), "LIMIT_CHANNELS");
    });

    it("replays all kept events if the mount has `from`, also for the id earliest", async () => {
      const service = streams.create({ history: { maxLength: 3 } });
      const ids = await publishAll(service, channel, ["a", "b", "c", "d"]);
      const fromEarliest = await streams.mount(service, { from: "earliest" });
      const client = await streams.open(fromEarliest, channel, "earliest");
      await client.next(({ data }) => data === "d");
      expect(dataOf(client)).to.deep.equal(["b", "c", "d"]);
      expect(connectedOf(client).recovered).to.equal(true);
      const byEmpty = await streams.openUrl(`${fromEarliest.url}/stream?channel=${channel}&lastEventId=`);
      await byEmpty.next(({ data }) => data === "d");
      const byDefault = await streams.open(fromEarliest, channel);
      await byDefault.next(({ data }) => data === "d");
      expect(dataOf(byDefault)).to.deep.equal(["b", "c", "d"]);
      // A client with an id resumes from its id.
      const resumed = await streams.open(fromEarliest, channel, ids[2]);
      await resumed.next(({ data }) => data === "d");
      expect(dataOf(resumed)).to.deep.equal(["d"]);
    });

    it("sends missed events before new events, each once and in order", async () => {
      const [id] = await publishAll(service, channel, ["0"]);
      const numbers = Array.from({ length: 300 }, (_, index) => String(index + 1));
      await publishAll(service, channel, numbers.slice(0, 270));
      const publishing = (async () => {
        for (const data of numbers.slice(270)) await service.publish(channel, { data });
      })();
      const clients = await Promise.all(Array.from({ length: 3 }, () => streams.open(app, channel, id)));
      await publishing;
      for (const client of clients) {
        await client.next(({ data }) => data === "300");
        expect(dataOf(client)).to.deep.equal(numbers);
        expect(gapsOf(client)).to.deep.equal([]);
      }
    });

    it("sends events without history live, without an id, and does not replay them", async () => {
      const service = streams.create({ history: { channels: { "*:none": false } } });
      const app = await streams.mount(service);
      const client = await streams.openLive(app, [channel, `${channel}:none`]);
      expect(await service.publish(channel, { data: "now" }, { history: false })).to.deep.equal({
        id: null,
        receivers: 1,
      });
      expect((await service.publish(`${channel}:none`, { data: "never kept" })).id).to.equal(null);
      await streams.raw.publish(channel, "plain");
      const { id } = await service.publish(channel, { data: "kept" });
      await client.next(({ data }) => data === "kept");
      expect(dataOf(client).toSorted()).to.deep.equal(["kept", "never kept", "now", "plain"]);
      const begun = client.events[0]!.id!;
      for (const event of client.events) expect(event.id || begun).to.be.oneOf([begun, id]);
      client.destroy();
      const again = await streams.open(app, [channel, `${channel}:none`], begun);
      await again.next(({ data }) => data === "kept");
      expect(dataOf(again)).to.deep.equal(["kept"]);
    });

    describe("gap", () => {
      async function expectGap(
        service: RedisSse,
        lastEventId: string,
        reason: string,
        channels: readonly string[] = [channel],
      ): Promise<void> {
        const app = await streams.mount(service);
        const client = await streams.open(app, channels, lastEventId);
        await client.next(isEvent("gap"));
        expect(client.events.map(({ event }) => event)).to.deep.equal(["connected", "gap"]);
        expect(gapsOf(client)).to.deep.equal([{ channels, reason }]);
        expect(connectedOf(client).recovered).to.equal(false);
        // Without an id, a client that disconnects before it reads the gap gets it again.
        expect(client.events[0]!.id || undefined).to.equal(undefined);
        if (lastEventId.length > 3) expect(client.text).to.not.include(lastEventId);
        const id = lastIdOf(client);
        await service.publish(channels[0]!, { data: "after" });
        await client.next(({ data }) => data === "after");
        expect(dataOf(client)).to.deep.equal(["after"]);
        client.destroy();
        // The client can resume from the id of the gap.
        const again = await streams.open(app, channels, id);
        await again.next(({ data }) => data === "after");
        expect(gapsOf(again)).to.deep.equal([]);
      }

      it("is sent if the log was trimmed", async () => {
        const service = streams.create({ history: { maxLength: 3 } });
        const ids = await publishAll(service, channel, ["a", "b", "c", "d", "e"]);
        await expectGap(service, ids[0]!, "trimmed");
        // All events after the second of the last three are kept.
        const whole = await streams.open(await streams.mount(service), channel, ids[3]);
        await whole.next(({ data }) => data === "after");
        expect(dataOf(whole)).to.deep.equal(["e", "after"]);
        expect(gapsOf(whole)).to.deep.equal([]);
      });

      it("is sent if the log was trimmed since another stream has read its state", async () => {
        const service = streams.create({ history: { maxLength: 3 } });
        const ids = await publishAll(service, channel, ["a", "b", "c"]);
        const other = await streams.openLive(await streams.mount(service), channel);
        await publishAll(service, channel, ["d", "e", "f", "g"]);
        await other.next(({ data }) => data === "g");
        await expectGap(service, ids[1]!, "trimmed");
      });

      it("is sent if the log was lost and has started again", async () => {
        const [id] = await publishAll(service, channel, ["a"]);
        await streams.raw.del(`sse:pos:{${channel}}`, `sse:log:{${channel}}`);
        await publishAll(service, channel, ["b"]);
        await expectGap(service, id!, "epoch");
      });

      it("is sent if more than maxReplayEvents events are missed", async () => {
        const service = streams.create({ limits: { maxReplayEvents: 3 } });
        const ids = await publishAll(service, channel, ["a", "b", "c", "d", "e"]);
        await expectGap(service, ids[0]!, "limit");
        const app = await streams.mount(service);
        const allowed = await streams.open(app, channel, ids[2]);
        await allowed.next(({ data }) => data === "after");
        expect(dataOf(allowed)).to.deep.equal(["d", "e", "after"]);
      });

      it("is sent if the id is ahead of the log", async () => {
        const ids = await publishAll(service, channel, ["a", "b"]);
        // Simulates a Redis server that lost its last event in a power failure.
        await streams.raw.hset(`sse:pos:{${channel}}`, "o", "1");
        await streams.raw.del(`sse:log:{${channel}}`);
        await streams.raw.xadd(`sse:log:{${channel}}`, "MAXLEN", "9", "1", "e", "", "d", "a");
        await expectGap(streams.create(), ids[1]!, "future");
      });

      it("is sent if the id is of other channels, and their events are not sent", async () => {
        const [theirs] = await publishAll(service, `${channel}:theirs`, ["private"]);
        await publishAll(service, channel, ["public"]);
        await expectGap(service, theirs!, "foreign");
      });

      it("is sent if the id is earliest, and the mount starts new streams with new events", async () => {
        await publishAll(service, channel, ["a"]);
        await expectGap(service, "earliest", "foreign");
      });

      it("is sent if the id is malformed", async () => {
        await publishAll(service, channel, ["a"]);
        await expectGap(service, "1.WOhidDy", "malformed");
      });

      it("is sent once per reason and names exactly the affected channels", async () => {
        const service = streams.create({ history: { channels: { "*:short": { maxLength: 1 } } } });
        const app = await streams.mount(service);
        const [short, whole, lost] = ["short", "whole", "lost"].map((end) => `${channel}:${end}`) as [
          string,
          string,
          string,
        ];
        await service.publish(lost, { data: "before" });
        const first = await streams.openLive(app, [short, whole, lost]);
        const id = lastIdOf(first);
        first.destroy();
        await publishAll(service, short, ["s1", "s2"]);
        await publishAll(service, whole, ["w1", "w2"]);
        await streams.raw.del(`sse:pos:{${lost}}`);
        // A process that has not received any event of these channels.
        const other = await streams.mount(streams.create());
        const client = await streams.open(other, [short, whole, lost], id);
        await client.next(({ data }) => data === "w2");
        expect(gapsOf(client)).to.have.deep.members([
          { channels: [short], reason: "trimmed" },
          { channels: [lost], reason: "epoch" },
        ]);
        expect(dataOf(client)).to.deep.equal(["w1", "w2"]);
        expect(connectedOf(client).recovered).to.equal(false);
      });
    });

    describe("addChannel() and removeChannel()", () => {
      async function live(service: RedisSse): Promise<{ session: PubSubSession; sink: FakeSink }> {
        const sink = new FakeSink();
        return { session: await service.open({}, sink, [channel]), sink };
      }

      it("adds a new channel to the id", async () => {
        const { session, sink } = await live(service);
        const added = `${channel}:added`;
        await service.publish(added, { data: "before" });
        await session.addChannel(added);
        await session.close();
        const id = lastIdIn(sink.text)!;
        await service.publish(added, { data: "missed" });
        const client = await streams.open(app, [channel, added], id);
        await client.next(({ data }) => data === "missed");
        expect(dataOf(client)).to.deep.equal(["missed"]);
        expect(gapsOf(client)).to.deep.equal([]);
      });

      it("sends the id with the added channel with the next event of the tick, or in its own block", async () => {
        const { session, sink } = await live(service);
        await session.addChannel(`${channel}:one`);
        session.send({ data: "x" });
        expect(sink.text).to.match(/\n\ndata: x\nid: .+\n\n$/);
        await session.addChannel(`${channel}:two`);
        await eventually(() => expect(sink.text).to.match(/\n\nid: .+\n\n$/));
        expect(sink.text.match(/\n\nid: /g), "blocks without an event").to.have.length(1);
        await session.close();
      });

      it("sends a gap with an id if the added channel has lost its beginning", async () => {
        const service = streams.create({ history: { maxLength: 2 } });
        const { session, sink } = await live(service);
        const added = `${channel}:added`;
        await service.publish(added, { data: "1" }, { finite: true });
        for (const data of ["2", "3"]) await service.publish(added, { data });
        await session.addChannel(added);
        await eventually(() => expect(sink.text).to.include("data: 3\n"));
        const told = sink.events.slice(1).map(({ event, data }) => (event === "gap" ? event : data));
        expect(told).to.deep.equal(["gap", "2", "3"]);
        expect(sink.events[1]!.id).to.match(/^3\./);
        await session.close();
      });
    });
  });
}
