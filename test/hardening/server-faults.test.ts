import { once } from "node:events";
import { inspect } from "node:util";

import { expect } from "chai";
import { Redis } from "ioredis";

import type { RedisSseOptions } from "../../lib/index.js";
import { eventually, settle } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import type { RedisServer } from "../support/redis-server.js";
import { expectEveryNumber, publishNumbers } from "../support/sequence.js";
import { captureLog, faultOf } from "../support/service.js";
import type { SseClient } from "../support/sse-client.js";
import type { StreamApp } from "../support/stream-app.js";
import { dataOf } from "../support/stream-harness.js";
import { everythingIn } from "../support/queue-fault-rig.js";
import { codeOf, createUser, isConnected, isGap, typesOf } from "../support/fault-steps.js";

describeFaults("a service whose Redis stops, restarts, refuses commands or is full", (rig) => {
  /** Starts an app that logs in as a Redis user with all rights. */
  async function startAsUser(options: RedisSseOptions): Promise<StreamApp> {
    return rig.start({ redis: await createUser(rig, "&*"), ...options });
  }

  for (const subscriptions of ["shared", "dedicated"] as const) {
    describe(subscriptions, () => {
      // Without history, a lost shared connection causes a gap event. A dedicated stream ends.
      const history = subscriptions === "shared" ? false : {};

      it("reports REDIS_AUTH without secrets if the password changes, and recovers if it changes back", async () => {
        const limits = { subscribeTimeoutMs: 500 };
        const pool = { acquireTimeoutMs: 500 };
        const app = await startAsUser({ subscriptions, limits, pool, history });
        const live = await app.openLive("a");
        await rig.server.admin.acl("SETUSER", "app", "resetpass", ">other");
        await rig.server.admin.call("CLIENT", "KILL", "USER", "app");
        if (subscriptions === "dedicated") await live.ended;
        // The first reconnect, which detects the fault, happens up to half a second later.
        await eventually(async () => {
          const refused = await app.open("b");
          await refused.ended;
          expect(refused.status).to.equal(200);
          expect(refused.text).to.not.match(/pw|other/);
          expect(codeOf(refused)).to.equal("REDIS_AUTH");
        }, 10_000);
        const fault: unknown = await app.service.publish("a", { data: 1 }).catch((error: unknown) => error);
        expect(fault).to.have.property("code", "REDIS_AUTH");
        // Between two attempts to connect, the answer is REDIS_UNAVAILABLE.
        await eventually(async () =>
          expect((await app.service.status()).redis).to.deep.equal({ fault: "REDIS_AUTH" }),
        );
        await rig.server.admin.acl("SETUSER", "app", "resetpass", ">pw");
        const reader = subscriptions === "dedicated" ? await app.openLive("a") : live;
        if (reader === live) await live.next(isGap, 10_000);
        await eventually(async () => await app.service.publish("a", { data: "again" }), 10_000);
        await reader.next(({ data }) => data === "again");
      });

      it("ends only the streams of a channel if an ACL rule revokes it", async () => {
        const app = await startAsUser({ subscriptions, history });
        const [kept, taken] = await Promise.all([app.openLive("ok:1"), app.openLive("secret")]);
        await rig.server.admin.acl("SETUSER", "app", "resetchannels", "&ok:*");
        await taken.ended;
        expect(taken.events.at(-1)).to.deep.include({
          event: "closing",
          data: `{"reason":"${subscriptions === "shared" ? "revoked" : "redis-lost"}"}`,
        });
        // Redis closes connections with denied subscriptions: the shared one, or the one of that stream.
        if (subscriptions === "shared") await kept.next(isGap, 10_000);
        await rig.server.admin.publish("ok:1", "x");
        await kept.next(({ data }) => data === "x");
        const again = await app.open("secret");
        await again.ended;
        expect(codeOf(again)).to.equal("SUBSCRIBE_REFUSED");
      });

      it("recovers if Redis closes a subscriber for its full output buffer, and commands still work", async () => {
        await rig.server.admin.config("SET", "client-output-buffer-limit", "pubsub 1mb 512kb 1");
        const limits = { maxBufferedBytes: 64 * 1024 * 1024 };
        const app = await rig.start({ subscriptions, limits, history });
        const client = await app.openLive("a");
        await app.service.pool.incrementWithTtl("before");
        await flood(rig.server, "a", 20);
        if (subscriptions === "dedicated") await client.ended;
        else await client.next(isGap, 10_000);
        expect(await app.service.pool.incrementWithTtl("before")).to.equal(2);
        const reader = subscriptions === "dedicated" ? await app.openLive("a") : client;
        await rig.server.admin.publish("a", "again");
        await reader.next(({ data }) => data === "again");
        expect((await app.service.status()).sessions.closed).to.deep.equal(
          subscriptions === "dedicated" ? { "redis-lost": 1 } : {},
        );
      });

      it("refuses streams of a channel that an ACL rule denies, and serves them once it is allowed", async () => {
        const app = await rig.start({ subscriptions, redis: await createUser(rig, "&ok:*") });
        const openMany = (channel: string): Promise<SseClient[]> =>
          Promise.all(Array.from({ length: 20 }, () => app.open(channel)));
        const [refused, served] = await Promise.all([openMany("secret"), openMany("ok:1")]);
        for (const client of refused) {
          await client.ended;
          expect(client.status).to.equal(200);
          expect(typesOf(client)).to.deep.equal(["error"]);
          expect(codeOf(client)).to.equal("SUBSCRIBE_REFUSED");
        }
        await Promise.all(served.map((client) => client.next(isConnected)));
        await rig.server.admin.publish("ok:1", "x");
        for (const client of served) await client.next(({ data }) => data === "x");
        await eventually(async () => {
          const { sessions, pool } = await app.service.status();
          expect(sessions).to.deep.include({ open: 20, closed: { "subscribe-failed": 20 } });
          expect(pool.inUse).to.equal(subscriptions === "dedicated" ? 20 : 0);
        });
        await rig.server.admin.acl("SETUSER", "app", "&secret");
        const later = await app.openLive("secret");
        await rig.server.admin.publish("secret", "granted");
        await later.next(({ data }) => data === "granted");
        expect(await rig.server.receiversOf("secret")).to.equal(1);
      });

      it("undoes a subscription that Redis acknowledges after the deadline", async () => {
        const limits = { subscribeTimeoutMs: 200, closeTimeoutMs: 200 };
        const app = await rig.start({ subscriptions, limits, pool: { acquireTimeoutMs: 200 } });
        (await app.openLive("warm")).destroy();
        await eventually(async () => expect(await rig.server.activeChannels()).to.deep.equal([]));
        await rig.server.admin.client("PAUSE", 1_000, "ALL");
        const client = await app.open("ghost");
        await client.ended;
        expect(typesOf(client)).to.deep.equal(["error"]);
        await eventually(async () => {
          expect(await rig.server.receiversOf("ghost")).to.equal(0);
          expect(app.service.pool.statistics.inUse).to.equal(0);
          expect(await rig.server.connections()).to.not.include("redis-sse:lease");
        }, 10_000);
      });

      it("never prints the Redis password", async () => {
        const log = captureLog("redis-sse:*");
        try {
          await rig.server.admin.config("SET", "requirepass", "right");
          const redis = `redis://:hunter2@127.0.0.1:${rig.server.port}`;
          const app = await rig.start({ subscriptions, redis, limits: { subscribeTimeoutMs: 400 } });
          const client = await app.open("a");
          await client.ended;
          expect(codeOf(client)).to.equal("REDIS_AUTH");
          const fault = await faultOf(app.service.publish("a", { data: 1 }));
          expect(fault).to.have.property("code", "REDIS_AUTH");
          expect(log.lines.length).to.be.greaterThan(0);
          const objects = [inspect(fault, { depth: 9 }), inspect(app.service, { depth: 4 })];
          for (const text of [client.text, ...log.lines, ...objects]) expect(text).to.not.include("hunter2");
        } finally {
          log.restore();
        }
      });
    });
  }

  // `incident.test.ts` has the same fault for dedicated streams.
  it("shared: sends a retryable error if maxclients is reached", async () => {
    const app = await rig.start({ limits: { subscribeTimeoutMs: 400 } });
    const [, clients] = /connected_clients:(\d+)/.exec(await rig.server.admin.info("clients"))!;
    await rig.server.admin.config("SET", "maxclients", clients!);
    const client = await app.open("a");
    await client.ended;
    expect(client.status).to.equal(200);
    expect(client.retryMs).to.be.within(2_000, 4_000);
    expect(codeOf(client)).to.equal("REDIS_UNAVAILABLE");
    await rig.server.admin.config("SET", "maxclients", "100");
    await untilServed(app);
  });

  it("shared: closes a stream as revoked if Redis refuses its channel while another stream joins", async () => {
    const { service } = await rig.start({ redis: await createUser(rig, "allchannels") });
    const first = await service.open({}, rig.sink(), "x");
    // Revoking the channels closes the connection. The second stream joins while it is down.
    const lost = once(service.pool.subscriber, "close");
    await rig.server.admin.acl("SETUSER", "app", "resetchannels");
    await lost;
    expect(await faultOf(service.open({}, rig.sink(), "x"))).to.have.property("code", "SUBSCRIBE_REFUSED");
    await first.closed;
    expect(first.closeReason).to.equal("revoked");
    expect((await service.status()).hub).to.deep.include({ channels: 0, subscribed: 0 });
  });

  // The root hooks fail a test that causes a warning about too many listeners.
  it("adds thirty channels to a stream at once", async () => {
    const { service } = await rig.start();
    const session = await service.open({}, rig.sink(), "base");
    await Promise.all(Array.from({ length: 30 }, (_, index) => session.addChannel(`extra:${index}`)));
    expect(session.channels.size).to.equal(31);
  });

  it("shared: replays an event whose size makes Redis close the subscriber, and the events after it", async () => {
    const app = await rig.start();
    const client = await app.openLive("a");
    // The limit is smaller than one of the large events.
    await rig.server.admin.config("SET", "client-output-buffer-limit", "pubsub 150000 0 0");
    const large = "x".repeat(200_000);
    const sent = ["small", large, "behind it", large, "last"];
    for (const data of sent) await app.service.publish("a", { data });
    await client.next(({ data }) => data === "last", 10_000);
    expect(dataOf(client)).to.deep.equal(sent);
    expect((await app.service.status()).sessions.closed).to.deep.equal({});
  });

  it("shared: sends all new events after the gap event of a restart, from a new history", async () => {
    const app = await rig.start({ heartbeatMs: 100 });
    const client = await app.openLive("a");
    await app.service.publish("a", { data: "lost" });
    const { id } = await client.next(({ data }) => data === "lost");
    await rig.server.kill();
    await rig.server.boot();
    // The connection of the streams may still be down.
    const publisher = await rig.start();
    await publishNumbers(publisher.service, "a", 0, 3);
    await client.next(({ data }) => data === "2", 10_000);
    expect(client.events[2]).to.deep.include({ event: "gap", data: '{"channels":["a"],"reason":"epoch"}' });
    expectEveryNumber(client.events.slice(3), 3);
    const ids = client.events.slice(1).map((event) => event.id);
    expect(new Set(ids), "of the lost event, of the gap and of each that came").to.have.property("size", 5);
    expect(ids[0]).to.equal(id);
    const { id: last } = await app.service.publish("a", { data: "3" });
    expect(await client.next(({ data }) => data === "3")).to.have.property("id", last);
  });

  it("leaves the app's own client unchanged, and ignores options such as its keyPrefix", async () => {
    const own = new Redis(rig.server.url, {
      connectionName: "own",
      keyPrefix: "app:",
      commandTimeout: 1_000,
      stringNumbers: true,
      reconnectOnError: () => 2,
    });
    const listeners = (): readonly number[] =>
      own.eventNames().map((name) => own.listenerCount(name as "error"));
    try {
      await own.set("k", "v");
      const before = listeners();
      const app = await rig.start({ redis: own });
      const client = await app.openLive("a");
      expect((await app.service.publish("a", { data: "x" })).receivers).to.equal(1);
      await client.next(({ data }) => data === "x");
      const { id } = await app.service.queue("own").enqueue("a", null);
      expect(await rig.server.admin.exists(`sse:task:{tasks}:${id}`)).to.equal(1);
      const ours = ["redis-sse:command", "redis-sse:subscriber"];
      expect(await rig.server.connections()).to.have.members(["own", ...ours]);
      await app.service.close();
      await settle();
      expect(listeners()).to.deep.equal(before);
      expect(own.status).to.equal("ready");
      expect(await own.get("k")).to.equal("v");
      await eventually(async () => expect(await rig.server.connections()).to.deep.equal(["own"]));
    } finally {
      own.disconnect();
    }
  });

  const refusals = {
    "out of memory": {
      provoke: () => rig.server.admin.config("SET", "maxmemory", "1"),
      undo: () => rig.server.admin.config("SET", "maxmemory", "0"),
    },
    "a read-only replica": {
      provoke: () => rig.server.admin.call("REPLICAOF", "127.0.0.1", "1"),
      undo: () => rig.server.admin.call("REPLICAOF", "NO", "ONE"),
    },
  };
  for (const [what, { provoke, undo }] of Object.entries(refusals)) {
    it(`refuses calls that store data, without partial changes, if Redis is ${what}`, async () => {
      const app = await rig.start();
      const channel = "notifications:ann";
      const client = await app.openLive(channel);
      await app.service.publish(channel, { data: "kept" });
      await app.service.pool.incrementWithTtl("warm");
      await provoke();
      const before = await everythingIn(rig.server);
      const attempts = [
        app.service.queue("q").enqueue("a", null),
        app.service.notifications.create({ userId: "ann", title: "t" }),
        app.service.pool.incrementWithTtl("n"),
        app.service.publish(channel, { data: "to be kept" }),
        app.service.publish("another", { data: "to be kept" }),
      ];
      for (const fault of await Promise.all(attempts.map(faultOf))) {
        expect(fault).to.have.property("code", "REDIS_REFUSED");
      }
      expect(await everythingIn(rig.server)).to.deep.equal(before);
      // An event without history needs no memory, so it is still published.
      await app.service.publish(channel, { data: "passed" }, { history: false });
      await client.next(({ data }) => data === "passed");
      expect(dataOf(client)).to.have.length(2);
      await undo();
      await app.service.publish(channel, { data: "kept again" });
      await client.next(({ data }) => data === "kept again");
      // The refused events took no offset in the history.
      expect(dataOf(client)).to.deep.equal(["kept", "passed", "kept again"]);
    });
  }
});

/** Resolves when a stream is served again. */
async function untilServed(app: StreamApp, timeoutMs = 10_000): Promise<void> {
  await eventually(async () => {
    const next = await app.open("a");
    await next.next(isConnected, 1_000);
  }, timeoutMs);
}

/** Publishes this many megabytes in one script, so that the server can send nothing in between. */
async function flood(server: RedisServer, channel: string, megabytes: number): Promise<void> {
  // Valkey 9.1 does not count a text of 16 KB or more in an output buffer before it starts to send the text.
  const script = `local text = string.rep('x', 10000)
for i = 1, ARGV[2] * 100 do redis.call('PUBLISH', ARGV[1], text) end`;
  await server.admin.eval(script, 0, channel, megabytes);
}
