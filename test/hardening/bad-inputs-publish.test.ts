import { inspect } from "node:util";

import { expect } from "chai";

import type { OutboundMessage } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { unreadable } from "../support/hostile.js";
import { circular, expectFault, faultOf, thrower } from "../support/service.js";
import type { SseClient } from "../support/sse-client.js";
import { startStreamApp, type StreamApp } from "../support/stream-app.js";

const MAX_BYTES = 20_000;

for (const subscriptions of ["shared", "dedicated"] as const) {
  describe(`publish() and messages of other programs, ${subscriptions}`, () => {
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

    /**
     * The events that the stream has received so far. Publishes one more event and waits for it, so that all have
     * arrived.
     */
    async function received(): Promise<readonly (readonly [string, string])[]> {
      const mark = `mark ${marks++}`;
      await app.service.publish("a", { data: mark });
      await client.next(({ data }) => data === mark);
      return client.events.slice(1, -1).map(({ event, data }) => [event, data] as const);
    }

    /** Expects that every `id:` line has an id of the library, and that no id occurs twice. */
    function expectOwnIds(): void {
      const lines = Array.from(client.text.matchAll(/(?<=^|\n)id:.*\n/g), ([line]) => line);
      expect(lines.length).to.be.greaterThan(1);
      for (const line of lines) expect(line).to.match(/^id: 3\.[\w-]{14,20}\n$/);
      expect(new Set(lines)).to.have.property("size", lines.length);
    }

    const refused: readonly (readonly [string, unknown, string])[] = [
      ["an event name with a line end", { event: "x\r\ndata: secret", data: 1 }, "INVALID_EVENT"],
      ["a reserved event name", { event: "closing", data: 1 }, "INVALID_EVENT"],
      ["an event name that is an array", { event: ["news"], data: 1 }, "INVALID_EVENT"],
      ["a text instead of a message", "secret", "INVALID_EVENT"],
      ["null instead of a message", null, "INVALID_EVENT"],
      ["a message without data", {}, "UNSERIALIZABLE"],
      ["a symbol", { data: Symbol("secret") }, "UNSERIALIZABLE"],
      ["a nested BigInt", { data: { n: 1n } }, "UNSERIALIZABLE"],
      ["a circular object", { data: circular }, "UNSERIALIZABLE"],
      ["a toJSON() that throws", { data: thrower }, "UNSERIALIZABLE"],
      ["a toJSON() that returns undefined", { data: { toJSON: () => undefined } }, "UNSERIALIZABLE"],
      ["a getter that throws", { data: unreadable() }, "UNSERIALIZABLE"],
      ["too many bytes", { data: "é".repeat(MAX_BYTES / 2 + 1) }, "EVENT_TOO_LARGE"],
    ];
    for (const [what, message, code] of refused) {
      it(`rejects ${what} with ${code}, does not echo it, and publishes nothing`, async () => {
        const calls = await server.callsOf("publish");
        const fault = await faultOf(app.service.publish("a", message as OutboundMessage));
        expectFault(fault, code);
        expect(inspect(fault)).to.not.match(/secret|hunter2/);
        expect(await server.callsOf("publish")).to.equal(calls);
        expect(await received()).to.deep.equal([]);
      });
    }

    it("rejects an invalid or reserved channel name and publishes nothing", async () => {
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

    it("sends data that looks like SSE fields as one event with data lines only", async () => {
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

    it("sends nested arrays, and rejects them with UNSERIALIZABLE if they are too deep for JSON", async () => {
      const deep = "[".repeat(1_000) + "]".repeat(1_000);
      await app.service.publish("a", { data: JSON.parse(deep) as unknown });
      let deepest: unknown = [];
      for (let depth = 0; depth < 100_000; depth++) deepest = [deepest];
      expectFault(await faultOf(app.service.publish("a", { data: deepest })), "UNSERIALIZABLE");
      expect(await received()).to.deep.equal([["message", deep]]);
    });

    const mark = "\u001esse1\n";
    const DROPPED: Readonly<Record<string, string>> = {
      "an envelope with the reserved event closing": `${mark}\nclosing\n{"reason":"completed"}`,
      "an envelope with CR in the event name": `${mark}\nx\rdata: evil\ny`,
      "an envelope with an invalid position": `${mark}9-9\nnews\nx\n\nid: 9-9\nretry: 0`,
      "an envelope of another version": "\u001esse9\n\n\nx",
    };
    for (const [what, message] of Object.entries(DROPPED)) {
      it(`drops and counts ${what} from another program`, async () => {
        const before = (await app.service.status()).hub.dropped;
        await server.admin.publish("a", message);
        expect(await received()).to.deep.equal([]);
        expect((await app.service.status()).hub.dropped).to.equal(before + 1);
      });
    }

    it("replaces invalid UTF-8 in a message of another program by U+FFFD", async () => {
      await server.admin.publish("a", Buffer.from([0x61, 0xff, 0xc3, 0x28, 0x00, 0xf0, 0x9f]));
      expect(await received()).to.deep.equal([["message", "a\ufffd\ufffd(\0\ufffd"]]);
    });

    const FORGED: Readonly<Record<string, (epoch: string, top: number) => string>> = {
      "with another epoch": () => "0123abcd 9",
      "with another epoch and an ending": () => "0123abcd 9 completed",
      "with an offset after the last event": (epoch, top) => `${epoch} ${top + 5}`,
      "with an offset after the last event and an ending": (epoch, top) => `${epoch} ${top + 5} broken`,
      "with the offset of the last event": (epoch, top) => `${epoch} ${top}`,
      "with the largest safe integer as the offset": (epoch) => `${epoch} ${Number.MAX_SAFE_INTEGER}`,
    };
    for (const [what, placeOf] of Object.entries(FORGED)) {
      it(`ignores a forged position ${what}, and keeps all streams open`, async () => {
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
  });
}
