import { connect } from "node:net";

import { expect } from "chai";
import type express from "express";
import type { Redis } from "ioredis";

import type { HistoryOptions, PubSubSession, RedisSse, RedisSource } from "../../lib/index.js";
import { redisPoolStatus, sseStream } from "../../middleware/express.js";
import { deferred, eventually } from "../support/eventually.js";
import { expectFault, faultOf } from "../support/service.js";
import type { SseClient } from "../support/sse-client.js";
import { dataOf, isEvent, useStreams } from "../support/stream-harness.js";
import { startApp, type TestApp } from "../support/test-app.js";

/** The Redis that the suite uses. */
export interface SuiteRedis {
  /** The `redis` option of the services. */
  readonly source: RedisSource;
  /** A client of another program, for plain commands. */
  readonly client: Redis;
  stop(): Promise<void>;
}

/** Tests streams on any Redis and in both subscription modes. */
export function describeStreams(
  name: string,
  subscriptions: "shared" | "dedicated",
  startRedis: (context: Mocha.Context) => Promise<SuiteRedis>,
): void {
  describe(`streams on ${name} (${subscriptions})`, () => {
    const streams = useStreams(subscriptions, startRedis);
    const apps: TestApp[] = [];
    let service: RedisSse;
    let app: TestApp;

    beforeEach(async () => {
      service = streams.create();
      app = await streams.mount(service);
    });

    afterEach(() => Promise.all(apps.splice(0).map((app) => app.close())));

    /** Starts an app with other routes. */
    async function serve(routes: (app: express.Express) => void): Promise<TestApp> {
      const app = await startApp(routes);
      apps.push(app);
      return app;
    }

    it("starts with retry and `connected`, and has headers that prevent proxy buffering", async () => {
      const app = await streams.mount(streams.create({ retryMs: 1234 }));
      const client = await streams.openLive(app, "news");
      expect(client.status).to.equal(200);
      expect(client.headers["content-type"]).to.equal("text/event-stream; charset=utf-8");
      expect(client.headers["cache-control"]).to.equal("no-cache, no-transform");
      expect(client.headers["x-accel-buffering"]).to.equal("no");
      expect(client.retryMs).to.equal(1234);
      expect(client.events).to.have.length(1);
      const connected = JSON.parse(client.events[0]!.data) as Record<string, unknown>;
      expect(connected["sessionId"]).to.match(/^[\w-]{36}$/);
      expect({ ...connected, sessionId: "" }).to.deep.equal({
        sessionId: "",
        channels: ["news"],
        recovered: false,
        heartbeatMs: 15_000,
      });
      expect(client.events[0]!.id).to.match(CURSOR);
    });

    it("sends no id on channels without history", async () => {
      const off: readonly (readonly [channel: string, history: HistoryOptions | false])[] = [
        ["without", false],
        ["none:1", { channels: { "none:*": false } }],
      ];
      for (const [channel, history] of off) {
        const service = streams.create({ history });
        const app = await streams.mount(service);
        const client = await streams.openLive(app, channel);
        expect(await service.publish(channel, { data: "x" })).to.deep.equal({ id: null, receivers: 1 });
        await client.next(({ data }) => data === "x");
        expect(client.text).to.not.match(/^id/m);
        expect(await streams.raw.keys(`*${channel}*`)).to.deep.equal([]);
      }
    });

    it("delivers messages of other programs unchanged", async () => {
      const client = await streams.openLive(app, "plain");
      await streams.raw.publish("plain", " two\nlines ✓");
      const event = await client.next(({ event: type }) => type === "message");
      expect(event.data).to.equal(" two\nlines ✓");
      expect(event.id || undefined).to.equal(undefined);
    });

    it("delivers events of publish() with their name as JSON and returns the number of receivers", async () => {
      const client = await streams.openLive(app, "typed");
      const receipt = await service.publish("typed", { event: "price", data: { cents: 5 } });
      expect(receipt).to.have.all.keys("id", "receivers").and.to.have.property("receivers", 1);
      expect(receipt.id).to.match(CURSOR);
      const event = await client.next(isEvent("price"));
      expect(JSON.parse(event.data)).to.deep.equal({ cents: 5 });
      expect(event.id).to.equal(receipt.id).and.to.not.equal(client.events[0]!.id);
    });

    it("delivers each event of several channels once", async () => {
      const client = await streams.openLive(app, ["one", "two", "one"]);
      await streams.raw.publish("one", "1");
      await streams.raw.publish("two", "2");
      await client.next(({ data }) => data === "2");
      expect(dataOf(client)).to.deep.equal(["1", "2"]);
    });

    it("keeps the order of events for every stream", async () => {
      const clients = await Promise.all(
        // With the command connection and the suite's connections, this makes ten. ioredis-mock supports no more.
        Array.from({ length: 6 }, () => streams.openLive(app, "order")),
      );
      const sent = Array.from({ length: 200 }, (_, index) => String(index));
      for (const data of sent) void streams.raw.publish("order", data);
      await Promise.all(clients.map((client) => client.next(({ data }) => data === "199")));
      for (const client of clients) expect(dataOf(client)).to.deep.equal(sent);
    });

    it("releases everything when the client disconnects", async () => {
      const client = await streams.openLive(app, "leave");
      expect((await service.status()).sessions.open).to.equal(1);
      client.destroy();
      await eventually(async () => {
        const { sessions, pool, channels } = await service.status();
        expect(sessions.open).to.equal(0);
        expect(sessions.closed).to.deep.equal({ "client-gone": 1 });
        expect(pool.inUse).to.equal(0);
        expect(channels).to.deep.equal([]);
      });
      await eventually(async () => expect(await streams.raw.publish("leave", "nobody")).to.equal(0));
    });

    it("sends a heartbeat after silence", async () => {
      const app = await streams.mount(streams.create({ heartbeatMs: 40 }));
      const client = await streams.openLive(app, "quiet");
      await eventually(() => expect(client.comments.length).to.be.greaterThan(2));
      expect(client.events).to.have.length(1);
    });

    it("passes the request to the resolver and awaits it", async () => {
      const app = await serve((router) =>
        router.get(
          "/stream/:id",
          sseStream(async (req) => Promise.resolve(`room:${String(req.params["id"])}`), { service }),
        ),
      );
      const client = await streams.openUrl(`${app.url}/stream/7`);
      await client.next(isEvent("connected"));
      await streams.raw.publish("room:7", "hello");
      await client.next(({ data }) => data === "hello");
    });
    it("is not closed by the idle timeout of its server", async () => {
      app.server.setTimeout(150);
      const client = await streams.openLive(app, "idle");
      const other = await streams.openUrl(`${app.url}/nothing`);
      await other.ended;
      // A later connection has reached the timeout, so this one would have reached it too.
      const silent = connect(Number(new URL(app.url).port), "127.0.0.1");
      silent.write("POST /stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n");
      await new Promise((resolve) => silent.resume().once("close", resolve));
      await streams.raw.publish("idle", "still here");
      await client.next(({ data }) => data === "still here");
    });

    it("sends an event to a single client with send()", async () => {
      const opened: PubSubSession[] = [];
      const app = await streams.mount(streams.create(), { onOpen: (session) => void opened.push(session) });
      const first = await streams.openLive(app, "s");
      const second = await streams.openLive(app, "s");
      await eventually(() => expect(opened).to.have.length(2));
      opened[0]!.send({ event: "welcome", data: { you: 1 } });
      await first.next(isEvent("welcome"));
      await streams.raw.publish("s", "all");
      await second.next(({ data }) => data === "all");
      expect(second.events.some(isEvent("welcome"))).to.equal(false);
      expect(() => opened[0]!.send({ event: "error", data: 1 }))
        .to.throw()
        .with.property("code", "INVALID_EVENT");
    });

    it("adds and removes channels of a live stream", async () => {
      const opened = deferred<PubSubSession>();
      const service = streams.create({ limits: { maxChannelsPerSession: 2 } });
      const app = await streams.mount(service, { onOpen: (session) => opened.resolve(session) });
      const client = await streams.openLive(app, "base");
      const session = await opened.promise;
      await session.addChannel("extra");
      expect([...session.channels]).to.deep.equal(["base", "extra"]);
      await streams.raw.publish("extra", "heard");
      await client.next(({ data }) => data === "heard");
      expectFault(await faultOf(session.addChannel("third")), "LIMIT_CHANNELS");
      expectFault(await faultOf(session.addChannel("bad\n")), "INVALID_CHANNEL");
      expectFault(await faultOf(session.addChannel(5 as unknown as string)), "INVALID_CHANNEL");
      expectFault(await faultOf(session.addChannel("sse:x")), "FORBIDDEN");
      await session.removeChannel("extra");
      await streams.raw.publish("extra", "unheard");
      await streams.raw.publish("base", "end");
      await client.next(({ data }) => data === "end");
      expect(dataOf(client)).to.deep.equal(["heard", "end"]);
      await eventually(async () => expect(await streams.raw.publish("extra", "nobody")).to.equal(0));
    });

    it("ends after the event that `until` selects, and answers 204 when the client reconnects", async () => {
      const app = await streams.mount(service, { until: ({ data }) => data === "[DONE]" });
      const client = await streams.openLive(app, "tokens");
      for (const token of ["a", "b", "[DONE]", "late"]) await streams.raw.publish("tokens", token);
      await client.ended;
      expect(dataOf(client)).to.deep.equal(["a", "b", "[DONE]"]);
      const last = client.events.at(-1)!;
      expect(last).to.deep.include({ event: "closing", data: '{"reason":"completed"}', id: "completed" });
      const again = await streams.open(app, "tokens", "completed");
      await again.ended;
      expect(again.status).to.equal(204);
      await eventually(async () => {
        expect((await service.status()).sessions.closed).to.deep.equal({ completed: 1 });
      });
    });

    const byUser = {
      key: (req: express.Request): string | undefined => req.query["user"] as string | undefined,
    };
    const urlOf = (app: TestApp, user: string): string => `${app.url}/stream?channel=a&user=${user}`;

    /** Opens a stream of a user and waits for `connected` or `error`. */
    async function openAs(app: TestApp, user: string): Promise<SseClient> {
      const client = await streams.openUrl(urlOf(app, user));
      await client.next(({ event }) => event === "connected" || event === "error");
      return client;
    }

    it("rejects a client over maxSessionsPerKey with an event or a status until another stream ends", async () => {
      const service = streams.create({ limits: { maxSessionsPerKey: 2 } });
      const app = await streams.mount(service, byUser);
      const first = await openAs(app, "ann");
      await openAs(app, "ann");
      const third = await openAs(app, "ann");
      await third.ended;
      expect(third.status).to.equal(200);
      expect(third.headers.connection).to.equal("close");
      expect(third.events.map(({ event }) => event)).to.deep.equal(["error"]);
      expect(JSON.parse(third.events[0]!.data)).to.have.property("code", "LIMIT_SESSIONS_PER_KEY");
      expect(third.retryMs).to.be.within(5_000, 10_000);
      expect((await fetch(urlOf(app, "ann"), { method: "HEAD" })).status).to.equal(200);
      const strict = await streams.mount(service, { ...byUser, onUnavailable: "status" });
      const refused = await fetch(urlOf(strict, "ann"));
      expect(refused.status).to.equal(503);
      expect(Number(refused.headers.get("retry-after"))).to.be.within(5, 10);
      expect(await refused.text()).to.include("LIMIT_SESSIONS_PER_KEY");
      const { sessions } = await service.status();
      expect(sessions).to.deep.include({ open: 2, refused: { LIMIT_SESSIONS_PER_KEY: 2 } });
      expect((await openAs(app, "bob")).events[0]!.event).to.equal("connected");
      first.destroy();
      await eventually(async () => expect((await service.status()).sessions.open).to.equal(2));
      expect((await openAs(app, "ann")).events[0]!.event).to.equal("connected");
    });

    it('answers 429 over maxSessionsPerKey if onLimit is "status"', async () => {
      const service = streams.create({ limits: { maxSessionsPerKey: 1 } });
      const app = await streams.mount(service, { ...byUser, onLimit: "status" });
      await openAs(app, "ann");
      for (const method of ["GET", "HEAD"]) {
        const refused = await fetch(urlOf(app, "ann"), { method });
        expect(refused.status, method).to.equal(429);
        expect(Number(refused.headers.get("retry-after")), method).to.be.within(2, 4);
      }
    });

    it('closes the oldest stream of a key with a retry of one minute if onLimit is "evict-oldest"', async () => {
      const service = streams.create({ limits: { maxSessionsPerKey: 1 } });
      const app = await streams.mount(service, { ...byUser, onLimit: "evict-oldest" });
      const first = await openAs(app, "ann");
      const other = await openAs(app, "bob");
      expect((await fetch(urlOf(app, "ann"), { method: "HEAD" })).status).to.equal(200);
      const second = await openAs(app, "ann");
      await first.ended;
      expect(first.events.at(-1)).to.deep.include({ event: "closing", data: '{"reason":"limit"}' });
      expect(first.retryMs).to.be.within(60_000, 75_000);
      await streams.raw.publish("a", "still here");
      for (const client of [other, second]) await client.next(({ data }) => data === "still here");
      await eventually(async () => {
        const { sessions } = await service.status();
        expect(sessions).to.deep.include({ open: 2, opened: 3, closed: { limit: 1 }, refused: {} });
      });
    });

    it("closes open streams, rejects new ones and still publishes during drain()", async () => {
      const clients = await Promise.all(Array.from({ length: 5 }, () => streams.openLive(app, "drain")));
      await service.drain({ timeoutMs: 2_000, spreadMs: 100 });
      await Promise.all(clients.map((client) => client.ended));
      for (const client of clients) {
        expect(client.events.at(-1)).to.deep.include({ event: "closing", data: '{"reason":"drain"}' });
      }
      const late = await streams.open(app, "drain");
      await late.ended;
      expect(JSON.parse(late.events[0]!.data)).to.have.property("code", "CLOSED");
      expect((await service.publish("drain", { data: "x" })).id).to.match(CURSOR);
      const { sessions } = await service.status();
      expect(sessions).to.deep.include({ open: 0, closed: { drain: 5 } });
    });

    it("rejects a call with a misspelled option without any effect", async () => {
      const misspelt: readonly [what: string, call: () => Promise<unknown>, code: string][] = [
        ["drain", () => service.drain({ timeout: 1 } as never), "CONFIG"],
        ["status", () => service.status({ drft: false } as never), "CONFIG"],
        ["status of null", () => service.status(null as never), "CONFIG"],
        ["drain of null", () => service.drain(null as never), "CONFIG"],
        ["enqueue", () => service.queue("q").enqueue("k", 1, { ids: "a" } as never), "CONFIG"],
        ["publish", () => service.publish("a", { evnt: "x", data: 1 } as never), "INVALID_EVENT"],
        [
          "publish()'s options",
          () => service.publish("a", { data: 1 }, { histry: false } as never),
          "CONFIG",
        ],
        ["publish with null", () => service.publish("a", { data: 1 }, null as never), "CONFIG"],
      ];
      for (const [what, call, code] of misspelt) expectFault(await faultOf(call()), code, what);
      expect((await service.status()).state).to.equal("open");
    });

    it("shows the pool status only to authorized requests", async () => {
      await streams.openLive(app, "notifications:admin");
      const { url } = await serve((router) => {
        router.get("/pool", redisPoolStatus({ service, authorize: (req) => req.get("x-key") === "k" }));
      });
      const answer = await fetch(`${url}/pool`, { headers: { "x-key": "k" } });
      expect(answer.status).to.equal(200);
      expect(answer.headers.get("cache-control")).to.equal("no-store");
      const report = (await answer.json()) as {
        success: boolean;
        data: Record<string, Record<string, unknown>>;
      };
      const inUse = subscriptions === "dedicated" ? 1 : 0;
      expect(report.success).to.equal(true);
      expect(report.data["pool"]).to.deep.include({
        max_connections: 200,
        available_connections: 200 - inUse,
        in_use_connections: inUse,
      });
      expect(report.data["redis_server"]!["connected_clients"]).to.be.a("number");
      expect(report.data["pubsub"]).to.deep.equal({ active_channels: 1, channels: ["notifications:admin"] });
      expect((await fetch(`${url}/pool`)).status).to.equal(401);
    });
  });
}

/** Matches the id of an event with history. */
const CURSOR = /^3\.[\w-]+$/;
