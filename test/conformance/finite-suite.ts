import { randomUUID } from "node:crypto";

import { expect } from "chai";

import { StreamWriter } from "../../lib/history/stream-writer.js";
import type { RedisSse } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { FakeSink } from "../support/fake-sink.js";
import { expectFault, faultOf } from "../support/service.js";
import {
  connectedOf,
  dataOf,
  gapsOf,
  isEvent,
  useStreams,
  type Subscriptions,
} from "../support/stream-harness.js";
import type { TestApp } from "../support/test-app.js";
import type { SuiteRedis } from "./stream-suite.js";

/** Tests channels that end by `complete()`, by a writer, or because a writer is lost. */
export function describeFinite(
  name: string,
  subscriptions: Subscriptions,
  startRedis: (context: Mocha.Context) => Promise<SuiteRedis>,
): void {
  describe(`finite channels on ${name} (${subscriptions})`, () => {
    const streams = useStreams(subscriptions, startRedis);
    let channel: string;
    let service: RedisSse;
    let app: TestApp;

    beforeEach(async () => {
      channel = `finite:${randomUUID()}`;
      service = streams.create();
      app = await streams.mount(service);
    });

    describe("complete()", () => {
      it("sends its event to the open streams and then ends them", async () => {
        const client = await streams.openLive(app, channel);
        await service.publish(channel, { data: "a" });
        const { id } = await service.complete(channel, { event: "done", data: { ok: true } });
        await client.ended;
        expect(client.events.slice(1).map(({ event, data }) => [event, data])).to.deep.equal([
          ["message", "a"],
          ["done", '{"ok":true}'],
          ["closing", '{"reason":"completed"}'],
        ]);
        expect(client.events[2]!.id).to.equal(id);
        await eventually(async () =>
          expect((await service.status()).sessions.closed).to.deep.equal({ completed: 1 }),
        );
      });

      it("replays the whole channel and its end to every later client", async () => {
        for (let index = 0; index < 100; index++) await service.publish(channel, { data: index });
        await service.complete(channel, { data: "last" });
        const other = await streams.mount(streams.create());
        for (let round = 0; round < 2; round++) {
          const client = await streams.open(other, channel);
          await client.ended;
          expect(dataOf(client)).to.deep.equal([...Array.from({ length: 100 }, (_, i) => String(i)), "last"]);
          expect(client.events.at(-1)!.event).to.equal("closing");
          expect(gapsOf(client)).to.deep.equal([]);
        }
      });

      it("answers 204 to a client that has received all events, and replays the rest to others", async () => {
        const { id } = await service.publish(channel, { data: "a" });
        const last = await service.complete(channel, { data: "b" });
        expect((await streams.open(app, channel, last.id!)).status).to.equal(204);
        // The `closing` event sets this id.
        expect((await streams.open(app, channel, "completed")).status).to.equal(204);
        const client = await streams.open(app, channel, id!);
        await client.ended;
        expect(dataOf(client)).to.deep.equal(["b"]);
        expect(connectedOf(client).recovered).to.equal(true);
        await eventually(async () => expect((await service.status()).sessions.open).to.equal(0));
        expect((await service.status()).sessions.closed).to.deep.equal({ completed: 2 });
      });

      it("ends the streams without an event if it is called without one", async () => {
        const client = await streams.openLive(app, channel);
        const { id } = await service.complete(channel);
        await client.ended;
        expect(client.events.map(({ event }) => event)).to.deep.equal(["connected", "closing"]);
        expect((await streams.open(app, channel, id!)).status).to.equal(204);
      });

      it("rejects later events, a second complete() and a writer", async () => {
        await service.complete(channel, { data: "end" });
        expectFault(await faultOf(service.publish(channel, { data: "late" })), "COMPLETED");
        expectFault(await faultOf(service.complete(channel)), "COMPLETED");
        expectFault(await faultOf(service.writer(channel)), "COMPLETED");
      });

      it("rejects a channel without history", async () => {
        const service = streams.create({ history: false });
        expectFault(await faultOf(service.complete(channel)), "NO_HISTORY");
        expectFault(await faultOf(service.writer(channel)), "NO_HISTORY");
      });

      it("ends a stream of several channels when its last channel is completed", async () => {
        const client = await streams.openLive(app, [channel, `${channel}:2`]);
        await service.complete(channel, { data: "one" });
        await service.publish(`${channel}:2`, { data: "goes on" });
        await client.next(({ data }) => data === "goes on");
        await service.complete(`${channel}:2`, { data: "two" });
        await client.ended;
        expect(dataOf(client)).to.deep.equal(["one", "goes on", "two"]);
        expect(
          (await streams.open(app, [channel, `${channel}:2`], client.events.at(-2)!.id)).status,
        ).to.equal(204);
      });
    });

    describe("writer()", () => {
      it("delivers its text live, and the whole text to clients that connect at any time", async () => {
        const app = await streams.mount(streams.create());
        const out = await service.writer(channel, { event: "token" });
        const tokens = Array.from({ length: 2_000 }, (_, index) => `\n token ${index}`);
        const early = await streams.openLive(app, channel);
        const readers = [early];
        for (const [index, token] of tokens.entries()) {
          await out.write(token);
          if (index % 500 === 250) readers.push(await streams.open(app, channel));
        }
        await out.end({ event: "usage", data: { tokens: 2_000 } });
        readers.push(await streams.open(app, channel));
        for (const reader of readers) {
          await reader.ended;
          const text = reader.events.filter(isEvent("token")).map(({ data }) => data);
          expect(text.join("")).to.equal(tokens.join(""));
          // The writer joins chunks, so there are fewer events than chunks.
          expect(text.length).to.be.lessThan(500);
          expect(reader.events.slice(-2).map(({ event }) => event)).to.deep.equal(["usage", "closing"]);
        }
        expect(out.closed).to.equal(true);
        expectFault(await faultOf(out.write("more")), "COMPLETED");
      });

      it("locks its channel: other writers, publish() and complete() are rejected", async () => {
        const service = streams.create({ history: { maxLength: 10 } });
        const app = await streams.mount(service);
        const out = await service.writer(channel, { maxBatchBytes: 1 });
        for (let index = 0; index < 30; index++) await out.write(`${index};`);
        const other = streams.create();
        const calls = [
          service.publish(channel, { data: "stray" }),
          service.complete(channel),
          other.writer(channel),
        ];
        for (const call of calls) expectFault(await faultOf(call), "CHANNEL_TAKEN");
        await out.end();
        const client = await streams.open(app, channel);
        await client.ended;
        expect(dataOf(client)).to.have.length(30);
        expect(gapsOf(client)).to.deep.equal([]);
      });

      it("rejects, or returns a closed writer, if its service is closing", async () => {
        await service.publish(channel, { data: "so that a connection exists" });
        const asked = service.writer(`${channel}:2`).catch((error: unknown) => error);
        await service.close();
        const answer = await asked;
        if (answer instanceof StreamWriter) expect(answer.closed).to.equal(true);
        else expectFault(answer, "CLOSED");
      });

      it('keeps the written text and ends the stream as "broken" if its signal aborts', async () => {
        const giveUp = new AbortController();
        const out = await service.writer(channel, { signal: giveUp.signal });
        const client = await streams.openLive(app, channel);
        await out.write("ha");
        await client.next(({ data }) => data === "ha");
        // Text that has not been sent yet also counts as written.
        await out.write("lf");
        giveUp.abort();
        await client.ended;
        const late = await streams.open(app, channel);
        await late.ended;
        for (const reader of [client, late]) {
          expect(dataOf(reader).join("")).to.equal("half");
          expect(reader.events.slice(-2).map(({ event }) => event)).to.deep.equal(["error", "closing"]);
          expect(JSON.parse(reader.events.at(-2)!.data)).to.include({ code: "BROKEN" });
          expect(JSON.parse(reader.events.at(-1)!.data)).to.deep.equal({ reason: "broken" });
        }
        const behindGap = await streams.open(app, channel, "malformed");
        await behindGap.ended;
        expect(behindGap.events.slice(1).map(({ event }) => event)).to.deep.equal([
          "gap",
          "error",
          "closing",
        ]);
        expectFault(await faultOf(out.write("more")), "ABORTED");
        expectFault(await faultOf(out.end()), "ABORTED");
        expect((await streams.open(app, channel, "completed")).status).to.equal(204);
      });

      it("ends open streams and rejects end() after its lease has expired", async () => {
        const service = streams.create({ history: { checkMs: 200 } });
        const app = await streams.mount(service);
        const out = await service.writer(channel);
        await out.write("half");
        const client = await streams.openLive(app, channel);
        await client.next(({ data }) => data === "half");
        // Simulates a crashed process: its lease has expired and is not renewed.
        await streams.raw.hset(`sse:pos:{${channel}}`, "w", "gone", "wt", "1");
        await client.ended;
        expect(client.events.slice(-2).map(({ event }) => event)).to.deep.equal(["error", "closing"]);
        expectFault(await faultOf(out.end()), "COMPLETED");
      });

      it("rejects end() with STREAM_LOST if Redis has lost the channel, and its clients get the end", async () => {
        const out = await service.writer(channel);
        await out.write("one");
        const client = await streams.openLive(app, channel);
        await client.next(({ data }) => data === "one");
        await streams.raw.del(`sse:pos:{${channel}}`, `sse:log:{${channel}}`);
        await out.write("two");
        expectFault(await faultOf(out.end()), "STREAM_LOST");
        await client.ended;
        expect(client.events.slice(-3).map(({ event }) => event)).to.deep.equal(["gap", "error", "closing"]);
      });

      it('ends its stream as "broken" when its service closes', async () => {
        const app = await streams.mount(streams.create());
        const out = await service.writer(channel);
        await out.write("half");
        const client = await streams.openLive(app, channel);
        await service.close();
        await client.ended;
        expect(dataOf(client).join("")).to.equal("half");
        expect(JSON.parse(client.events.at(-1)!.data)).to.deep.equal({ reason: "broken" });
      });

      it("rejects invalid chunks and options and continues", async () => {
        const service = streams.create({ limits: { maxEventBytes: 100 } });
        const app = await streams.mount(service);
        const wrong = [
          { flushMs: -1 },
          { maxBatchBytes: 0 },
          { leaseMs: 1 },
          { flush: 1 },
          { signal: {} },
          null,
        ];
        for (const options of wrong) {
          expectFault(await faultOf(service.writer(channel, options as never)), "CONFIG");
        }
        for (const event of ["gap", "a\nb", ""]) {
          expectFault(await faultOf(service.writer(channel, { event })), "INVALID_EVENT");
        }
        const out = await service.writer(channel);
        for (const chunk of [7, null, {}, Buffer.from("x")]) {
          expectFault(await faultOf(out.write(chunk as never)), "INVALID_EVENT");
        }
        expectFault(await faultOf(out.write("x".repeat(101))), "EVENT_TOO_LARGE");
        expectFault(await faultOf(out.end({ data: 1n })), "UNSERIALIZABLE");
        await out.write("ok");
        await out.end();
        const client = await streams.open(app, channel);
        await client.ended;
        expect(dataOf(client)).to.deep.equal(["ok"]);
      });

      it('ends its stream as "broken" if it has more events than maxReplayEvents', async () => {
        const service = streams.create({ limits: { maxReplayEvents: 5 } });
        const app = await streams.mount(service);
        const out = await service.writer(channel, { maxBatchBytes: 1 });
        const write = async (): Promise<void> => {
          for (let index = 0; index < 100; index++) await out.write("x");
        };
        expectFault(await faultOf(write()), "STREAM_TOO_LONG");
        const client = await streams.open(app, channel);
        await client.ended;
        expect(dataOf(client)).to.deep.equal(["x", "x", "x", "x"]);
        expect(JSON.parse(client.events.at(-1)!.data)).to.deep.equal({ reason: "broken" });
      });
    });

    it("replays a finite channel from its beginning to a late client", async () => {
      await service.publish(channel, { data: "1" }, { finite: true });
      await service.publish(channel, { data: "2" });
      const client = await streams.openLive(app, channel);
      await service.complete(channel, { data: "3" });
      await client.ended;
      expect(dataOf(client)).to.deep.equal(["1", "2", "3"]);
      expectFault(await faultOf(service.publish(channel, { data: 1 }, { finite: 1 } as never)), "CONFIG");
    });

    it("ends a stream when its last open channel is removed", async () => {
      const session = await service.open({}, new FakeSink(), [channel, `${channel}:open`]);
      await service.complete(channel, { data: "end" });
      await eventually(() => expect(session.statistics.messagesSent).to.equal(1));
      expect(session.state).to.equal("subscribed");
      await session.removeChannel(`${channel}:open`);
      await session.closed;
      expect(session.closeReason).to.equal("completed");
    });
  });
}
