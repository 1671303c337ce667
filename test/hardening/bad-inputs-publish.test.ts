import { inspect } from "node:util";

import { expect } from "chai";

import type { OutboundMessage } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { circular, expectFault, faultOf, thrower } from "../support/service.js";
import type { SseClient } from "../support/sse-client.js";
import { startStreamApp, type StreamApp } from "../support/stream-app.js";

const MAX_BYTES = 20_000;

for (const subscriptions of ["shared", "dedicated"] as const) {
  describe(`bad things to publish, ${subscriptions}`, () => {
    let server: RedisServer;
    let app: StreamApp;
    let client: SseClient;
    let marks = 0;

    before(async function () {
      server = await RedisServer.start(await need("redis", this));
      app = await startStreamApp({ redis: server.url, subscriptions, limits: { maxEventBytes: MAX_BYTES } });
    });

    beforeEach(async () => {
      client = await app.openLive("a");
    });

    afterEach(async () => {
      app.leave();
      await eventually(async () => expect((await app.service.status()).sessions.open).to.equal(0));
    });

    after(async () => {
      await app?.close();
      await server?.stop();
    });

    /** What the stream got of all that was published before: one more event is awaited behind it. */
    async function received(): Promise<readonly (readonly [string, string])[]> {
      const mark = `mark ${marks++}`;
      await app.service.publish("a", { data: mark });
      await client.next(({ data }) => data === mark);
      return client.events.slice(1, -1).map(({ event, data }) => [event, data] as const);
    }

    /** Whatever was published, each id is one of ours: before each event that is kept, and nowhere else. */
    function expectOwnIds(): void {
      const lines = Array.from(client.text.matchAll(/(?<=^|\n)id:.*\n/g), ([line]) => line);
      expect(lines.length).to.be.greaterThan(1);
      for (const line of lines) expect(line).to.match(/^id: 3\.[\w-]{14,20}\n$/);
      expect(new Set(lines)).to.have.property("size", lines.length);
    }

    const names = ["x\ndata: secret", "x\rdata: secret", "x\r\n\r\nevent: secret", "secret\0", ""];
    const reserved = ["error", "open", "connected", "gap", "closing"];
    const refused: readonly (readonly [string, OutboundMessage, string])[] = [
      ...[...names, ...reserved].map(
        (event) => [`the event ${JSON.stringify(event)}`, { event, data: 1 }, "INVALID_EVENT"] as const,
      ),
      ["a text in place of a message", "secret" as never, "INVALID_EVENT"],
      ["no data", {} as OutboundMessage, "UNSERIALIZABLE"],
      ["a BigInt", { data: 1n }, "UNSERIALIZABLE"],
      ["a circle", { data: circular }, "UNSERIALIZABLE"],
      ["a toJSON() that throws", { data: thrower }, "UNSERIALIZABLE"],
      ["a function", { data: () => "secret" }, "UNSERIALIZABLE"],
      ["one byte too many", { data: "x".repeat(MAX_BYTES + 1) }, "EVENT_TOO_LARGE"],
      ["too many bytes of few characters", { data: "é".repeat(MAX_BYTES / 2 + 1) }, "EVENT_TOO_LARGE"],
    ];
    for (const [what, message, code] of refused) {
      it(`${what} is ${code}, is not repeated, and nothing of it is published`, async () => {
        const calls = await server.callsOf("publish");
        const fault = await faultOf(app.service.publish("a", message));
        expectFault(fault, code);
        expect(inspect(fault)).to.not.match(/secret|hunter2/);
        expect(await server.callsOf("publish")).to.equal(calls);
        expect(await received()).to.deep.equal([]);
      });
    }

    it("a channel that cannot be, or is not an application's, is refused, and nothing is published", async () => {
      const calls = await server.callsOf("publish");
      for (const [channel, code] of [
        ["", "INVALID_CHANNEL"],
        [undefined, "INVALID_CHANNEL"],
        [["a", "b"], "INVALID_CHANNEL"],
        ["a\n", "INVALID_CHANNEL"],
        ["__keyevent@0__:expired", "FORBIDDEN"],
        ["sse:queue:{default}:wake", "FORBIDDEN"],
      ] as const) {
        const fault = await faultOf(app.service.publish(channel as string, { data: 1 }));
        expectFault(fault, code, inspect(channel));
      }
      expect(await server.callsOf("publish")).to.equal(calls);
    });

    it("data that poses as fields of the stream is one event, and the lines of it are data", async () => {
      const data = "a\rdata: evil\n\nevent: x\r\nid: 1\nretry: 0";
      const { id } = await app.service.publish("a", { data });
      expect(await received()).to.deep.equal([["message", data.replaceAll(/\r\n?/g, "\n")]]);
      expect(client.text).to.include(
        "\ndata: a\ndata: data: evil\ndata: \ndata: event: x\ndata: id: 1\ndata: retry: 0\nid: 3.",
      );
      expect(client.retryMs).to.equal(2_000);
      expect(client.events[1]).to.have.property("id", id);
      expectOwnIds();
      await app.service.publish("a", { data }, { history: false });
      await received();
      expect(client.text.split("\ndata: a\ndata: data: evil\ndata: \ndata: event: x\n")).to.have.length(3);
      expectOwnIds();
    });

    it("names that mean something to JavaScript, U+2028 and HTML are data as they are", async () => {
      const data = {
        html: "</script><img src=x onerror=alert(1)>\u2028\u2029",
        ...(JSON.parse('{"constructor":{"prototype":{"polluted":1}}}') as object),
      };
      Object.defineProperty(data, "__proto__", { value: { polluted: 1 }, enumerable: true });
      await app.service.publish("a", { data });
      const [event] = await received();
      expect(event![1]).to.equal(JSON.stringify(data)).and.to.include('"__proto__":{"polluted":1}');
      expect(({} as { polluted?: unknown }).polluted).to.equal(undefined);
    });

    it("lists within each other are data, and UNSERIALIZABLE where JSON cannot go so deep", async () => {
      const deep = "[".repeat(1_000) + "]".repeat(1_000);
      await app.service.publish("a", { data: JSON.parse(deep) as unknown });
      let deepest: unknown = [];
      for (let depth = 0; depth < 100_000; depth++) deepest = [deepest];
      expectFault(await faultOf(app.service.publish("a", { data: deepest })), "UNSERIALIZABLE");
      expect(await received()).to.deep.equal([["message", deep]]);
    });

    const mark = "\u001esse1\n";
    const DROPPED: Readonly<Record<string, string>> = {
      "an envelope that poses as an error": `${mark}\nerror\n{}`,
      "an envelope that poses as our goodbye": `${mark}\nclosing\n{"reason":"completed"}`,
      "an envelope that poses as a gap": `${mark}\ngap\n{}`,
      "an envelope whose event name begins another field": `${mark}\nx\rdata: evil\ny`,
      "an envelope whose event name has NUL": `${mark}\nx\0\ny`,
      "an envelope that is cut off": `${mark}0123abcd 1`,
      "an envelope with a place that can be none": `${mark}9-9\nnews\nx\n\nid: 9-9\nretry: 0`,
      "an envelope with a place before the first": `${mark}0123abcd 0\nnews\nx`,
      "an envelope with an end that is none": `${mark}0123abcd 1 ended\nnews\nx`,
      "an envelope that poses as our goodbye, at a place": `${mark}0123abcd 1\nclosing\n{"reason":"completed"}`,
      "an envelope of another version": "\u001esse9\n\n\nx",
    };
    for (const [what, message] of Object.entries(DROPPED)) {
      it(`${what}, of another program, is dropped and counted`, async () => {
        const before = (await app.service.status()).hub.dropped;
        await server.admin.publish("a", message);
        expect(await received()).to.deep.equal([]);
        expect((await app.service.status()).hub.dropped).to.equal(before + 1);
      });
    }

    it("bytes of another program that are no UTF-8 arrive as text, with U+FFFD for what is none", async () => {
      await server.admin.publish("a", Buffer.from([0x61, 0xff, 0xc3, 0x28, 0x00, 0xf0, 0x9f]));
      expect(await received()).to.deep.equal([["message", "a\ufffd\ufffd(\0\ufffd"]]);
    });

    const FORGED: Readonly<Record<string, (epoch: string, top: number) => string>> = {
      "of another life of the log": () => "0123abcd 9",
      "of another life of the log, as its end": () => "0123abcd 9 completed",
      "that the log has not reached": (epoch, top) => `${epoch} ${top + 5}`,
      "that the log has not reached, as its end": (epoch, top) => `${epoch} ${top + 5} broken`,
      "that the log has passed": (epoch, top) => `${epoch} ${top}`,
      "that no log will reach": (epoch) => `${epoch} ${Number.MAX_SAFE_INTEGER}`,
    };
    for (const [what, placeOf] of Object.entries(FORGED)) {
      it(`a forged place ${what} makes no event, sets no id, ends nothing, and reaches no other channel`, async () => {
        const other = await app.openLive("b");
        await received();
        const [epoch, top] = await server.admin.hmget("sse:pos:{a}", "e", "o");
        const forged = placeOf(epoch!, Number(top));
        const before = (await app.service.status()).hub.dropped;
        await server.admin.publish("a", `${mark}${forged}\nnews\nx\n\nid: 9-9\nretry: 0`);
        expect((await received()).map(([event]) => event)).to.deep.equal(["message"]);
        expect(client.text).to.not.include("news");
        expect(client.retryMs).to.equal(2_000);
        expectOwnIds();
        const { hub, sessions } = await app.service.status();
        expect(hub.dropped, "it was no malformed one").to.equal(before);
        expect(sessions.open).to.equal(2);
        await app.service.publish("b", { data: "last" });
        await other.next(({ data }) => data === "last");
        expect(other.events).to.have.length(2);
      });
    }

    it("an event of another program without a place sets no id, and one behind it has its own", async () => {
      await server.admin.publish("a", `${mark}\nnews\nx\n\nid: 9-9\nretry: 0`);
      expect(await received()).to.deep.equal([["news", "x\n\nid: 9-9\nretry: 0"]]);
      expect(client.text).to.include(
        "\n\nevent: news\ndata: x\ndata: \ndata: id: 9-9\ndata: retry: 0\n\ndata: ",
      );
      expect(client.retryMs).to.equal(2_000);
      expectOwnIds();
    });

    it("too large an event of another program is a gap to its channel's streams, and to no other's", async () => {
      const other = await app.openLive("b");
      await server.admin.publish("a", "x".repeat(MAX_BYTES + 1));
      expect(await received()).to.deep.equal([["gap", '{"channels":["a"],"reason":"too-large"}']]);
      await app.service.publish("b", { data: "last" });
      await other.next(({ data }) => data === "last");
      expect(other.events).to.have.length(2);
    });
  });
}
