import { once } from "node:events";
import { Agent, request } from "node:http";
import { connect } from "node:net";

import { expect } from "chai";
import compression from "compression";
import express from "express";
import type { Redis } from "ioredis";

import {
  createRedisSse,
  type HistoryOptions,
  type PubSubSession,
  type RedisSse,
  type RedisSseOptions,
  type RedisSource,
} from "../../lib/index.js";
import { redisPoolStatus, sseStream, type SseStreamOptions } from "../../middleware/express.js";
import { deferred, eventually, settle } from "../support/eventually.js";
import { FakeSink } from "../support/fake-sink.js";
import { expectFault, faultOf } from "../support/service.js";
import { openStream, type ReceivedEvent, type SseClient } from "../support/sse-client.js";
import { startApp, type TestApp } from "../support/test-app.js";

/** A Redis that the suite runs on. */
export interface SuiteRedis {
  /** Where a service connects to. */
  readonly source: RedisSource;
  /** Another program's client, for plain commands. */
  readonly client: Redis;
  stop(): Promise<void>;
}

/** What every stream does, whatever Redis is behind it and however it subscribes. */
export function describeStreams(
  name: string,
  subscriptions: "shared" | "dedicated",
  startRedis: (context: Mocha.Context) => Promise<SuiteRedis>,
): void {
  describe(`streams over ${name}, ${subscriptions}`, () => {
    let redis: SuiteRedis;
    const clients: SseClient[] = [];
    const apps: TestApp[] = [];
    const services: RedisSse[] = [];

    before(async function () {
      redis = await startRedis(this);
    });

    afterEach(async () => {
      for (const client of clients.splice(0)) client.destroy();
      await Promise.all(services.splice(0).map((service) => service.close()));
      await Promise.all(apps.splice(0).map((app) => app.close()));
    });

    after(() => redis?.stop());

    function createService(options: RedisSseOptions = {}): RedisSse {
      const service = createRedisSse({ redis: redis.source, subscriptions, ...options });
      services.push(service);
      return service;
    }

    async function mount(
      service: RedisSse,
      options: SseStreamOptions = {},
      before?: (app: express.Express) => void,
    ): Promise<TestApp> {
      const app = await startApp((router) => {
        before?.(router);
        router.get(
          "/stream",
          sseStream((req) => req.query["channel"] as string, { service, ...options }),
        );
      });
      apps.push(app);
      return app;
    }

    async function open(url: string, headers?: Record<string, string>): Promise<SseClient> {
      const client = await openStream(url, headers && { headers });
      clients.push(client);
      return client;
    }

    async function openLive(url: string): Promise<SseClient> {
      const client = await open(url);
      await client.next(isEvent("connected"));
      return client;
    }

    it("begins with a retry hint and `connected`, under headers that no proxy holds back", async () => {
      const app = await mount(createService({ retryMs: 1234 }));
      const client = await openLive(`${app.url}/stream?channel=news`);
      expect(client.status).to.equal(200);
      expect(client.headers["content-type"]).to.equal("text/event-stream; charset=utf-8");
      expect(client.headers["cache-control"]).to.equal("no-cache, no-transform");
      expect(client.headers["x-accel-buffering"]).to.equal("no");
      expect(client.retryMs).to.equal(1234);
      expect(client.events).to.have.length(1);
      const connected = JSON.parse(client.events[0]!.data) as Record<string, unknown>;
      expect(connected["channels"]).to.deep.equal(["news"]);
      expect(connected["recovered"]).to.equal(false);
      expect(connected["sessionId"]).to.match(/^[\w-]{36}$/);
      expect(client.events[0]!.id).to.match(CURSOR);
    });

    it("sends no id on channels without a history", async () => {
      const off: readonly (readonly [channel: string, history: HistoryOptions | false])[] = [
        ["without", false],
        ["none:1", { channels: { "none:*": false } }],
      ];
      for (const [channel, history] of off) {
        const service = createService({ history });
        const app = await mount(service);
        const client = await openLive(`${app.url}/stream?channel=${channel}`);
        expect(await service.publish(channel, { data: "x" })).to.deep.equal({ id: null, receivers: 1 });
        await client.next(({ data }) => data === "x");
        expect(client.text).to.not.match(/^id/m);
      }
    });

    it("sends an id with what is kept, and with nothing else", async () => {
      const service = createService({ history: { channels: { "none:*": false } } });
      const app = await mount(service);
      const client = await openLive(`${app.url}/stream?channel=none:2&channel=some`);
      const kept = await service.publish("some", { data: "kept" });
      await service.publish("none:2", { data: "of a channel without" });
      const passed = await service.publish("some", { data: "passed on" }, { history: false });
      expect(passed).to.deep.equal({ id: null, receivers: 1 });
      await client.next(({ data }) => data === "passed on");
      expect(client.events[0]!.id).to.match(CURSOR).and.to.not.equal(kept.id);
      expect(client.events.slice(1).map(({ data, id }) => [data, id || undefined])).to.deep.equal([
        ["kept", kept.id],
        ["of a channel without", undefined],
        ["passed on", undefined],
      ]);
    });

    it("passes what any program publishes as it is", async () => {
      const app = await mount(createService());
      const client = await openLive(`${app.url}/stream?channel=plain`);
      await redis.client.publish("plain", " two\nlines ✓");
      const event = await client.next(({ event: type }) => type === "message");
      expect(event.data).to.equal(" two\nlines ✓");
      expect(event.id || undefined).to.equal(undefined);
    });

    it("delivers what publish() sends, named and as JSON, and tells who received it", async () => {
      const service = createService();
      const app = await mount(service);
      const client = await openLive(`${app.url}/stream?channel=typed`);
      const receipt = await service.publish("typed", { event: "price", data: { cents: 5 } });
      expect(receipt).to.have.all.keys("id", "receivers").and.to.have.property("receivers", 1);
      expect(receipt.id).to.match(CURSOR);
      const event = await client.next(isEvent("price"));
      expect(JSON.parse(event.data)).to.deep.equal({ cents: 5 });
      expect(event.id).to.equal(receipt.id).and.to.not.equal(client.events[0]!.id);
    });

    it("hears several channels, each once", async () => {
      const app = await mount(createService());
      const client = await openLive(`${app.url}/stream?channel=one&channel=two&channel=one`);
      await redis.client.publish("one", "1");
      await redis.client.publish("two", "2");
      await client.next(({ data }) => data === "2");
      expect(dataOf(client)).to.deep.equal(["1", "2"]);
    });

    it("keeps the order for every stream", async () => {
      const app = await mount(createService());
      const streams = await Promise.all(
        // With the commands' and the suite's own these are ten connections: more are too many for ioredis-mock.
        Array.from({ length: 6 }, () => openLive(`${app.url}/stream?channel=order`)),
      );
      const sent = Array.from({ length: 200 }, (_, index) => String(index));
      for (const data of sent) void redis.client.publish("order", data);
      await Promise.all(streams.map((stream) => stream.next(({ data }) => data === "199")));
      for (const stream of streams) expect(dataOf(stream)).to.deep.equal(sent);
    });

    it("gives everything back when the client leaves", async () => {
      const service = createService();
      const app = await mount(service);
      const client = await openLive(`${app.url}/stream?channel=leave`);
      expect((await service.status()).sessions.open).to.equal(1);
      client.destroy();
      await eventually(async () => {
        const { sessions, pool, channels } = await service.status();
        expect(sessions.open).to.equal(0);
        expect(sessions.closed).to.deep.equal({ "client-gone": 1 });
        expect(pool.inUse).to.equal(0);
        expect(channels).to.deep.equal([]);
      });
      await eventually(async () => expect(await redis.client.publish("leave", "nobody")).to.equal(0));
    });

    it("sends a heartbeat after silence", async () => {
      const app = await mount(createService({ heartbeatMs: 40 }));
      const client = await openLive(`${app.url}/stream?channel=quiet`);
      await eventually(() => expect(client.comments.length).to.be.greaterThan(2));
      expect(client.events).to.have.length(1);
    });

    it("waits for an asynchronous resolver, and hands it the request", async () => {
      const service = createService();
      const app = await startApp((router) => {
        router.get(
          "/stream/:id",
          sseStream(async (req) => Promise.resolve(`room:${String(req.params["id"])}`), { service }),
        );
      });
      apps.push(app);
      const client = await openLive(`${app.url}/stream/7`);
      await redis.client.publish("room:7", "hello");
      await client.next(({ data }) => data === "hello");
    });

    it("answers 403 when the resolver names nothing", async () => {
      const service = createService();
      for (const nothing of [null, undefined, false, []] as const) {
        const app = await startApp((router) => {
          router.get(
            "/stream",
            sseStream(() => nothing, { service }),
          );
        });
        apps.push(app);
        const client = await open(`${app.url}/stream`);
        await client.ended;
        expect(client.status).to.equal(403);
        expect(errorCode(client)).to.equal("FORBIDDEN");
      }
      expect((await service.status()).sessions.opened).to.equal(0);
    });

    it("passes on what the resolver throws, before anything is sent", async () => {
      const service = createService();
      const mishap = new Error("no such user");
      const resolvers = [
        () => {
          throw mishap;
        },
        () => Promise.reject(mishap),
      ];
      for (const resolver of resolvers) {
        const app = await startApp((router) => {
          router.get("/stream", sseStream(resolver, { service }));
        });
        apps.push(app);
        const client = await open(`${app.url}/stream`);
        expect(client.status).to.equal(500);
        expect(app.errors).to.deep.equal([mishap]);
      }
    });

    it("opens nothing for a client that left while the resolver worked", async () => {
      const service = createService();
      const reached = deferred();
      const answer = deferred<string>();
      const app = await startApp((router) => {
        router.get(
          "/stream",
          sseStream(
            () => {
              reached.resolve();
              return answer.promise;
            },
            { service },
          ),
        );
      });
      apps.push(app);
      const socket = connect(Number(new URL(app.url).port), "127.0.0.1");
      socket.write("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
      await reached.promise;
      socket.destroy();
      await eventually(async () => {
        const count = await new Promise<number>((resolve, reject) =>
          app.server.getConnections((error, open) => (error ? reject(error) : resolve(open))),
        );
        expect(count).to.equal(0);
      });
      answer.resolve("late");
      await settle();
      expect((await service.status()).sessions.opened).to.equal(0);
    });

    const BAD_SELECTIONS: readonly (readonly [string, unknown])[] = [
      ["an empty name", ""],
      ["a line end", "a\r\nb"],
      ["NUL", "a\0b"],
      ["a number", 7],
      ["an object", { a: 1 }],
      ["an undefined in a list", ["a", undefined]],
      ["a nested list", [["user:1", "admin"]]],
      ["a name of 513 bytes", "x".repeat(513)],
      ["a lone surrogate", "a\ud800"],
    ];
    for (const [what, selection] of BAD_SELECTIONS) {
      it(`answers 400 to ${what}, and subscribes to nothing`, async () => {
        const service = createService();
        const app = await startApp((router) => {
          router.get(
            "/stream",
            sseStream(() => selection as string, { service }),
          );
        });
        apps.push(app);
        const client = await open(`${app.url}/stream`);
        await client.ended;
        expect(client.status).to.equal(400);
        expect(errorCode(client)).to.equal("INVALID_CHANNEL");
        expect((await service.status()).sessions.opened).to.equal(0);
      });
    }

    it("keeps streams off keyspace events and its own channels", async () => {
      const app = await mount(createService());
      for (const channel of ["__keyevent@0__:expired", "__keyspace@0__:a", "sse:queue:{default}:wake"]) {
        const client = await open(`${app.url}/stream?channel=${encodeURIComponent(channel)}`);
        await client.ended;
        expect(client.status, channel).to.equal(403);
      }
    });

    it("takes names that mean something to JavaScript or to patterns literally", async () => {
      const app = await mount(createService());
      for (const channel of ["__proto__", "constructor", "*", "a?c", "h[ae]llo"]) {
        const client = await openLive(`${app.url}/stream?channel=${encodeURIComponent(channel)}`);
        await redis.client.publish("something else", "no");
        await redis.client.publish(channel, "yes");
        await client.next(({ data }) => data === "yes");
        expect(dataOf(client)).to.deep.equal(["yes"]);
      }
    });

    it("answers 406 to a client that takes no event stream, and streams to one that takes anything", async () => {
      const app = await mount(createService());
      const html = await open(`${app.url}/stream?channel=a`, { Accept: "text/html" });
      expect(html.status).to.equal(406);
      const any = await open(`${app.url}/stream?channel=a`, { Accept: "*/*" });
      expect(any.status).to.equal(200);
    });

    it("answers HEAD with the head of the stream, and opens nothing", async () => {
      const service = createService();
      const app = await mount(service);
      const response = await fetch(`${app.url}/stream?channel=a`, { method: "HEAD" });
      expect(response.status).to.equal(200);
      expect(response.headers.get("content-type")).to.equal("text/event-stream; charset=utf-8");
      expect((await fetch(`${app.url}/stream`, { method: "HEAD" })).status).to.equal(403);
      expect((await service.status()).sessions.opened).to.equal(0);
    });

    it("answers 405 to other methods where it is mounted for all of them", async () => {
      const service = createService();
      const app = await startApp((router) => {
        router.use(
          "/stream",
          sseStream(() => "a", { service }),
        );
      });
      apps.push(app);
      const response = await fetch(`${app.url}/stream`, { method: "DELETE" });
      expect(response.status).to.equal(405);
      expect(response.headers.get("allow")).to.equal("GET, HEAD");
      const client = await openLive(`${app.url}/stream`);
      expect(client.status).to.equal(200);
    });

    it("streams in answer to a POST whose body was read", async () => {
      const service = createService();
      const app = await startApp((router) => {
        router.post(
          "/stream",
          express.json(),
          sseStream((req) => (req.body as { channel: string }).channel, { service }),
        );
      });
      apps.push(app);
      const client = await openStream(`${app.url}/stream`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ channel: "posted" }),
      });
      clients.push(client);
      await client.next(isEvent("connected"));
      await redis.client.publish("posted", "hello");
      await client.next(({ data }) => data === "hello");
      client.destroy();
      await eventually(async () => expect((await service.status()).sessions.open).to.equal(0));
    });

    it("opens no stream for requests that are pipelined on one connection, and destroys the connection", async () => {
      const service = createService();
      const app = await mount(service);
      const socket = connect(Number(new URL(app.url).port), "127.0.0.1");
      socket.on("error", () => {});
      const closed = once(socket, "close");
      socket.resume();
      socket.write("GET /stream?channel=pipe HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50));
      await closed;
      await eventually(async () => {
        const { sessions, pool } = await service.status();
        expect(sessions).to.deep.include({ open: 0, opened: 0 });
        expect(pool.inUse).to.equal(0);
      });
    });

    it("sends its first event at once through compression()", async () => {
      const app = await mount(createService(), {}, (router) => router.use(compression({ threshold: 0 })));
      const client = await open(`${app.url}/stream?channel=squeezed`, { "Accept-Encoding": "gzip" });
      await client.next(isEvent("connected"));
      await redis.client.publish("squeezed", "hello");
      await client.next(({ data }) => data === "hello");
    });

    it("outlives the idle timeout of its server", async () => {
      const app = await mount(createService());
      app.server.setTimeout(150);
      const client = await openLive(`${app.url}/stream?channel=idle`);
      const other = await open(`${app.url}/nothing`);
      await other.ended;
      // Another connection, opened later, has run into the timeout: so would have this one.
      const silent = connect(Number(new URL(app.url).port), "127.0.0.1");
      silent.write("POST /stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n");
      await new Promise((resolve) => silent.resume().once("close", resolve));
      await redis.client.publish("idle", "still here");
      await client.next(({ data }) => data === "still here");
    });

    it("tells one client alone with send()", async () => {
      const opened: PubSubSession[] = [];
      const app = await mount(createService(), { onOpen: (session) => void opened.push(session) });
      const first = await openLive(`${app.url}/stream?channel=s`);
      const second = await openLive(`${app.url}/stream?channel=s`);
      await eventually(() => expect(opened).to.have.length(2));
      opened[0]!.send({ event: "welcome", data: { you: 1 } });
      await first.next(isEvent("welcome"));
      await redis.client.publish("s", "all");
      await second.next(({ data }) => data === "all");
      expect(second.events.some(isEvent("welcome"))).to.equal(false);
      expect(() => opened[0]!.send({ event: "error", data: 1 }))
        .to.throw()
        .with.property("code", "INVALID_EVENT");
    });

    it("adds and takes away channels of a live stream", async () => {
      const opened = deferred<PubSubSession>();
      const service = createService({ limits: { maxChannelsPerSession: 2 } });
      const app = await mount(service, { onOpen: (session) => opened.resolve(session) });
      const client = await openLive(`${app.url}/stream?channel=base`);
      const session = await opened.promise;
      await session.addChannel("extra");
      expect([...session.channels]).to.deep.equal(["base", "extra"]);
      await redis.client.publish("extra", "heard");
      await client.next(({ data }) => data === "heard");
      await refusal(session.addChannel("third"), "LIMIT_CHANNELS");
      await refusal(session.addChannel("bad\n"), "INVALID_CHANNEL");
      await session.removeChannel("extra");
      await redis.client.publish("extra", "unheard");
      await redis.client.publish("base", "end");
      await client.next(({ data }) => data === "end");
      expect(dataOf(client)).to.deep.equal(["heard", "end"]);
      await eventually(async () => expect(await redis.client.publish("extra", "nobody")).to.equal(0));
    });

    it("ends after the event that `until` names, and answers 204 to the client's return", async () => {
      const service = createService();
      const app = await mount(service, { until: ({ data }) => data === "[DONE]" });
      const client = await openLive(`${app.url}/stream?channel=tokens`);
      for (const token of ["a", "b", "[DONE]", "late"]) await redis.client.publish("tokens", token);
      await client.ended;
      expect(dataOf(client)).to.deep.equal(["a", "b", "[DONE]"]);
      const last = client.events.at(-1)!;
      expect(last).to.deep.include({ event: "closing", data: '{"reason":"completed"}', id: "completed" });
      const again = await open(`${app.url}/stream?channel=tokens`, { "Last-Event-ID": "completed" });
      await again.ended;
      expect(again.status).to.equal(204);
      await eventually(async () => {
        expect((await service.status()).sessions.closed).to.deep.equal({ completed: 1 });
      });
    });

    it("ends a stream whose onOpen fails, without a word of why to the client", async () => {
      const mishap = new Error("the password is hunter2");
      const app = await mount(createService(), { onOpen: () => Promise.reject(mishap) });
      const client = await open(`${app.url}/stream?channel=a`);
      await client.ended;
      expect(client.events.map(({ event }) => event)).to.deep.equal(["connected", "error", "closing"]);
      expect(client.text).to.not.include("hunter2");
      await eventually(() => expect(app.errors).to.deep.equal([mishap]));
    });

    const byUser = {
      key: (req: express.Request): string | undefined => req.query["user"] as string | undefined,
    };

    it("refuses a client over the limit of its key, by event or by status, and admits it when a stream ends", async () => {
      const service = createService({ limits: { maxSessionsPerKey: 2 } });
      const app = await mount(service, byUser);
      const url = `${app.url}/stream?channel=a&user=`;
      const first = await openLive(`${url}ann`);
      await openLive(`${url}ann`);
      const third = await open(`${url}ann`);
      await third.ended;
      expect(third.status).to.equal(200);
      expect(third.events.map(({ event }) => event)).to.deep.equal(["error"]);
      expect(JSON.parse(third.events[0]!.data)).to.have.property("code", "LIMIT_SESSIONS_PER_KEY");
      expect(third.retryMs).to.be.within(5_000, 10_000);
      expect((await fetch(`${url}ann`, { method: "HEAD" })).status).to.equal(200);
      const strict = await mount(service, { ...byUser, onUnavailable: "status" });
      const refused = await fetch(`${strict.url}/stream?channel=a&user=ann`);
      expect(refused.status).to.equal(503);
      expect(Number(refused.headers.get("retry-after"))).to.be.within(5, 10);
      expect(await refused.text()).to.include("LIMIT_SESSIONS_PER_KEY");
      const { sessions } = await service.status();
      expect(sessions).to.deep.include({ open: 2, refused: { LIMIT_SESSIONS_PER_KEY: 2 } });
      await openLive(`${url}bob`);
      first.destroy();
      await eventually(async () => expect((await service.status()).sessions.open).to.equal(2));
      await openLive(`${url}ann`);
    });

    it("answers 429 over the limit of a key if the mount asks for it", async () => {
      const service = createService({ limits: { maxSessionsPerKey: 1 } });
      const app = await mount(service, { ...byUser, onLimit: "status" });
      const url = `${app.url}/stream?channel=a&user=ann`;
      await openLive(url);
      for (const method of ["GET", "HEAD"]) {
        const refused = await fetch(url, { method });
        expect(refused.status, method).to.equal(429);
        expect(Number(refused.headers.get("retry-after")), method).to.be.within(2, 4);
      }
    });

    it("evicts the oldest stream of a key if the mount asks for it, and tells its client to wait a minute", async () => {
      const service = createService({ limits: { maxSessionsPerKey: 2 } });
      const app = await mount(service, { ...byUser, onLimit: "evict-oldest" });
      const url = `${app.url}/stream?channel=a&user=`;
      const first = await openLive(`${url}ann`);
      const second = await openLive(`${url}ann`);
      const other = await openLive(`${url}bob`);
      expect((await fetch(`${url}ann`, { method: "HEAD" })).status).to.equal(200);
      const third = await openLive(`${url}ann`);
      await first.ended;
      expect(first.events.at(-1)).to.deep.include({ event: "closing", data: '{"reason":"limit"}' });
      expect(first.retryMs).to.be.within(60_000, 75_000);
      const fourth = await openLive(`${url}ann`);
      await second.ended;
      expect(second.events.at(-1)).to.deep.include({ event: "closing", data: '{"reason":"limit"}' });
      await redis.client.publish("a", "still here");
      for (const client of [other, third, fourth]) await client.next(({ data }) => data === "still here");
      await eventually(async () => {
        const { sessions } = await service.status();
        expect(sessions).to.deep.include({ open: 3, opened: 5, closed: { limit: 2 }, refused: {} });
      });
    });

    it("tells a client to come back when all streams are taken, as an event or as a status", async () => {
      const service = createService({ limits: { maxSessions: 1 } });
      const app = await mount(service);
      await openLive(`${app.url}/stream?channel=a`);
      const client = await open(`${app.url}/stream?channel=a`);
      await client.ended;
      expect(client.status).to.equal(200);
      expect(client.events.map(({ event }) => event)).to.deep.equal(["error"]);
      expect(JSON.parse(client.events[0]!.data)).to.have.property("code", "LIMIT_SESSIONS");
      expect(client.retryMs).to.be.within(2_000, 4_000);
      const strict = await mount(service, { onUnavailable: "status" });
      const refused = await open(`${strict.url}/stream?channel=a`);
      await refused.ended;
      expect(refused.status).to.equal(503);
      expect(Number(refused.headers["retry-after"])).to.be.greaterThan(0);
    });

    it("refuses more channels than a stream may have", async () => {
      const app = await mount(createService({ limits: { maxChannelsPerSession: 2 } }));
      const client = await open(`${app.url}/stream?channel=a&channel=b&channel=c`);
      await client.ended;
      expect(client.status).to.equal(400);
      expect(errorCode(client)).to.equal("LIMIT_CHANNELS");
    });

    it("drains: tells open streams, refuses new ones, and goes on publishing", async () => {
      const service = createService();
      const app = await mount(service);
      const streams = await Promise.all(
        Array.from({ length: 5 }, () => openLive(`${app.url}/stream?channel=drain`)),
      );
      await service.drain({ timeoutMs: 2_000, spreadMs: 100 });
      await Promise.all(streams.map((stream) => stream.ended));
      for (const stream of streams) {
        expect(stream.events.at(-1)).to.deep.include({ event: "closing", data: '{"reason":"drain"}' });
      }
      const late = await open(`${app.url}/stream?channel=drain`);
      await late.ended;
      expect(JSON.parse(late.events[0]!.data)).to.have.property("code", "CLOSED");
      expect((await service.publish("drain", { data: "x" })).id).to.match(CURSOR);
      const { sessions } = await service.status();
      expect(sessions).to.deep.include({ open: 0, closed: { drain: 5 } });
    });

    it("lets its server close though clients keep coming back on the connection they have", async () => {
      const service = createService({ retryMs: 10 });
      const live = deferred();
      const app = await mount(service, { onOpen: () => live.resolve() });
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      const come = (): Promise<string> => get(`${app.url}/stream?channel=a`, agent);
      const first = come();
      await live.promise;
      const closed = once(app.server, "close");
      app.server.close();
      await service.drain({ timeoutMs: 1_000, spreadMs: 0 });
      expect(await first).to.include('{"reason":"drain"}');
      await closed;
      agent.destroy();
    });

    it("refuses options that cannot be when it is mounted, and not with the first request", () => {
      const service = createService();
      const wrong: readonly Record<string, unknown>[] = [
        { servce: service },
        { service: undefined },
        { service: {} },
        { until: true },
        { key: "user" },
        { onUnavailable: "503" },
        { from: "the beginning" },
        { heartbeatMs: 0 },
        { retryMs: "1" },
      ];
      for (const options of wrong) {
        expect(() => sseStream(() => "a", options), Object.keys(options).join())
          .to.throw()
          .with.property("code", "CONFIG");
      }
      expect(() => sseStream("a" as never))
        .to.throw()
        .with.property("code", "CONFIG");
      expect(() => redisPoolStatus({} as never))
        .to.throw()
        .with.property("code", "CONFIG");
    });

    it("closes once, though a client that is ended closes it again", async () => {
      const service = createService();
      const again: Promise<void>[] = [];
      const sink = new FakeSink();
      sink.end = () => {
        again.push(service.close());
        sink.leave();
      };
      await service.open({}, sink, "a");
      const closed = service.close();
      await closed;
      expect(again).to.have.length(1);
      expect(again[0]).to.equal(closed);
    });

    it("refuses a misspelt option of a call, and does nothing", async () => {
      const service = createService();
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

    it("closes while streams are being set up, twice at once, and leaves nothing", async () => {
      const service = createService();
      const app = await mount(service);
      const opening = Array.from({ length: 20 }, () => openStream(`${app.url}/stream?channel=closing`));
      await eventually(async () => expect((await service.status()).sessions.opened).to.be.greaterThan(0));
      const both = [service.close(), service.close()];
      expect(both[0]).to.equal(both[1]);
      await Promise.all(both);
      const streams = await Promise.all(opening);
      await Promise.all(streams.map((stream) => stream.ended));
      const { sessions, pool, state } = await service.status();
      expect(state).to.equal("closed");
      expect(sessions.open).to.equal(0);
      expect(pool).to.deep.include({ inUse: 0, waiting: 0 });
      expect(pool.connections).to.deep.equal({ command: 0, subscriber: 0, lease: 0 });
      expect(await redis.client.publish("closing", "nobody")).to.equal(0);
    });

    it("shows an operator the pool, and nobody else anything", async () => {
      const service = createService();
      const app = await mount(service, {}, (router) => {
        router.get("/pool", redisPoolStatus({ service, authorize: (req) => req.get("x-key") === "k" }));
        router.get("/truthy", redisPoolStatus({ service, authorize: () => "yes" as unknown as boolean }));
        router.get(
          "/throws",
          redisPoolStatus({ service, authorize: () => Promise.reject(new Error("secret")) }),
        );
      });
      await openLive(`${app.url}/stream?channel=notifications:admin`);
      const answer = await fetch(`${app.url}/pool`, { headers: { "x-key": "k" } });
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
      const denied = await fetch(`${app.url}/pool`);
      expect(denied.status).to.equal(401);
      expect(denied.headers.get("www-authenticate")).to.equal("Bearer");
      expect((await fetch(`${app.url}/truthy`)).status).to.equal(401);
      const failed = await fetch(`${app.url}/throws`);
      expect(failed.status).to.equal(500);
      expect(await failed.text()).to.not.include("secret");
    });
  });
}

/** The id of an event that is kept. */
const CURSOR = /^3\.[\w-]+$/;

function isEvent(type: string): (event: ReceivedEvent) => boolean {
  return ({ event }) => event === type;
}

/** The data of the default events, without those of ours. */
function dataOf(client: SseClient): readonly string[] {
  return client.events.filter(isEvent("message")).map(({ data }) => data);
}

/** The whole body of an answer, over an agent's connection. */
function get(url: string, agent: Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { agent }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("end", () => resolve(text));
    });
    asked.on("error", reject).end();
  });
}

function errorCode(client: SseClient): string {
  return (JSON.parse(client.text) as { error: { code: string } }).error.code;
}

async function refusal(work: Promise<unknown>, code: string): Promise<void> {
  const error: unknown = await work.then(
    () => null,
    (fault: unknown) => fault,
  );
  expect(error).to.have.property("code", code);
}
