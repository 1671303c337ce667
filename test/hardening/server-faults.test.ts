import { connect, type Socket } from "node:net";
import { inspect } from "node:util";

import { expect } from "chai";
import { Redis } from "ioredis";

import type { RedisSseOptions } from "../../lib/index.js";
import { eventually, repeat, settle } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { RedisServer } from "../support/redis-server.js";
import { countMessages, expectEveryNumber, expectNoSilentHole, publishNumbers } from "../support/sequence.js";
import { captureLog, faultOf } from "../support/service.js";
import type { SseClient } from "../support/sse-client.js";
import type { StreamApp } from "../support/stream-app.js";
import { dataOf } from "../support/stream-harness.js";
import { everythingIn } from "../support/queue-fault-rig.js";
import { codeOf, createUser, isConnected, isGap, typesOf } from "../support/fault-steps.js";

describeFaults("a Redis server that stops, restarts, refuses or is full", (rig) => {
  /** A user of the server's that may do everything, as which an app logs in. */
  async function startAsUser(options: RedisSseOptions): Promise<StreamApp> {
    return rig.start({ redis: await createUser(rig, "&*"), ...options });
  }

  for (const subscriptions of ["shared", "dedicated"] as const) {
    describe(subscriptions, () => {
      // A shared connection that was lost is told as a gap where nothing is kept; a stream with its own ends.
      const history = subscriptions === "shared" ? false : {};

      it("a server that stops for longer than a link may be mute, and goes on: nothing comes twice", async () => {
        const app = await rig.start({ subscriptions, heartbeatMs: 200 });
        const client = await app.openLive("a");
        await rig.server.admin.publish("a", "0");
        await client.next(({ data }) => data === "0");
        rig.server.signal("SIGSTOP");
        // The link is given up.
        if (subscriptions === "dedicated") await client.ended;
        else
          await eventually(
            async () => expect((await app.service.status()).hub.connected).to.equal(false),
            15_000,
          );
        rig.server.signal("SIGCONT");
        const reader = subscriptions === "dedicated" ? await app.openLive("a") : client;
        if (reader === client) await client.next(isGap, 10_000);
        else expect(typesOf(client)).to.include.members(["error", "closing"]);
        for (let number = 1; number <= 10; number++) await rig.server.admin.publish("a", String(number));
        await reader.next(({ data }) => data === "10");
        expect(countMessages(reader.events)).to.equal(reader === client ? 11 : 10);
      });

      it("a connection that is killed under load: no repeat, and no hole that is not told", async () => {
        const app = await rig.start({ subscriptions });
        const clients: SseClient[] = [];
        for (let count = 0; count < 5; count++) clients.push(await app.openLive("a"));
        let number = 0;
        const publisher = repeat(() =>
          Promise.all(Array.from({ length: 20 }, () => rig.server.admin.publish("a", String(number++)))),
        );
        for (let kill = 0; kill < 3; kill++) {
          const reached = number + 500;
          await eventually(() => expect(number).to.be.greaterThan(reached));
          await rig.server.killSubscribers();
          if (subscriptions === "dedicated") {
            await Promise.all(clients.map((client) => client.ended));
            for (const client of clients.splice(0)) expectNoSilentHole(client.events, "a");
            for (let count = 0; count < 5; count++) clients.push(await app.openLive("a"));
          } else {
            const gaps = kill + 1;
            await eventually(() => {
              for (const { events } of clients) expect(events.filter(isGap)).to.have.length(gaps);
            }, 10_000);
          }
        }
        await publisher.stop();
        await rig.server.admin.publish("a", String(number));
        await Promise.all(clients.map((client) => client.next(({ data }) => data === String(number))));
        for (const client of clients) {
          expect(countMessages(client.events)).to.be.greaterThan(10);
          expectNoSilentHole(client.events, "a");
        }
      });

      it("a password that is changed, and changed back: told by its code, and no secret in it", async () => {
        const limits = { subscribeTimeoutMs: 500 };
        const pool = { acquireTimeoutMs: 500 };
        const app = await startAsUser({ subscriptions, limits, pool, history });
        const live = await app.openLive("a");
        await rig.server.admin.acl("SETUSER", "app", "resetpass", ">other");
        await rig.server.admin.call("CLIENT", "KILL", "USER", "app");
        if (subscriptions === "dedicated") await live.ended;
        // The first attempt to come back, which learns of it, is made up to half a second later.
        await eventually(async () => {
          const refused = await app.open("b");
          await refused.ended;
          expect(refused.status).to.equal(200);
          expect(refused.text).to.not.match(/pw|other/);
          expect(codeOf(refused)).to.equal("REDIS_AUTH");
        }, 10_000);
        const fault: unknown = await app.service.publish("a", { data: 1 }).catch((error: unknown) => error);
        expect(fault).to.have.property("code", "REDIS_AUTH");
        expect((await app.service.status()).redis).to.deep.equal({ fault: "REDIS_AUTH" });
        await rig.server.admin.acl("SETUSER", "app", "resetpass", ">pw");
        const reader = subscriptions === "dedicated" ? await app.openLive("a") : live;
        if (reader === live) await live.next(isGap, 10_000);
        await eventually(async () => await app.service.publish("a", { data: "again" }), 10_000);
        await reader.next(({ data }) => data === "again");
      });

      it("a right that is taken away: its streams end, and nobody else's", async () => {
        const app = await startAsUser({ subscriptions, history });
        const [kept, taken] = await Promise.all([app.openLive("ok:1"), app.openLive("secret")]);
        await rig.server.admin.acl("SETUSER", "app", "resetchannels", "&ok:*");
        await taken.ended;
        expect(taken.events.at(-1)).to.deep.include({
          event: "closing",
          data: `{"reason":"${subscriptions === "shared" ? "revoked" : "redis-lost"}"}`,
        });
        // Redis cuts the connections that hear what they may not: the shared one, or that one stream's.
        if (subscriptions === "shared") await kept.next(isGap, 10_000);
        await rig.server.admin.publish("ok:1", "x");
        await kept.next(({ data }) => data === "x");
        const again = await app.open("secret");
        await again.ended;
        expect(codeOf(again)).to.equal("SUBSCRIBE_REFUSED");
      });

      it("a reader that Redis cuts for its full output buffer: told, and commands go on", async () => {
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

      it("a server that is full: one stream is told, and none tries again on its behalf", async () => {
        const app = await rig.start({ subscriptions, limits: { subscribeTimeoutMs: 400 } });
        const held = subscriptions === "dedicated" ? await app.openLive("first") : null;
        const [, clients] = /connected_clients:(\d+)/.exec(await rig.server.admin.info("clients"))!;
        await rig.server.admin.config("SET", "maxclients", clients!);
        const client = await app.open("a");
        await client.ended;
        expect(client.status).to.equal(200);
        expect(client.retryMs).to.be.within(2_000, 4_000);
        expect(codeOf(client)).to.equal("REDIS_UNAVAILABLE");
        if (held === null) {
          await rig.server.admin.config("SET", "maxclients", "100");
          return untilServed(app);
        }
        const rejected = await rig.server.rejectedConnections();
        held.destroy();
        // The one that logs are read over is everybody's.
        const shared = ["redis-sse:command"];
        await eventually(async () => expect(await rig.server.connections()).to.deep.equal(shared));
        await app.openLive("a");
        expect(await rig.server.rejectedConnections()).to.equal(rejected);
      });

      it("a server that is down: a stream is answered in time, and the next one is served when it is up", async () => {
        await rig.server.kill();
        const limits = { subscribeTimeoutMs: 300 };
        const app = await rig.start({ subscriptions, limits, pool: { acquireTimeoutMs: 300 } });
        const client = await app.open("a");
        await client.ended;
        expect(client.status).to.equal(200);
        expect(typesOf(client)).to.deep.equal(["error"]);
        expect(codeOf(client)).to.equal("REDIS_UNAVAILABLE");
        expect(client.retryMs).to.be.greaterThan(0);
        await rig.server.boot();
        await untilServed(app);
      });

      it("a channel that the ACL refuses: each is told once, others are served, and it is heard once it is granted", async () => {
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

      it("a subscription that is acknowledged after its deadline is undone", async () => {
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

      it("a password is in nothing that is said of it", async () => {
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

  it("shared: an event for which Redis cuts its reader comes from the log, and those behind it as well", async () => {
    const app = await rig.start();
    const client = await app.openLive("a");
    // What nobody could read fast enough.
    await rig.server.admin.config("SET", "client-output-buffer-limit", "pubsub 150000 0 0");
    const large = "x".repeat(200_000);
    const sent = ["small", large, "behind it", large, "last"];
    for (const data of sent) await app.service.publish("a", { data });
    await client.next(({ data }) => data === "last", 10_000);
    expect(dataOf(client)).to.deep.equal(sent);
    expect((await app.service.status()).sessions.closed).to.deep.equal({});
  });

  it("shared: behind the gap of a restart comes all that was published since, over a log that has begun anew", async () => {
    const app = await rig.start({ heartbeatMs: 100 });
    const client = await app.openLive("a");
    await app.service.publish("a", { data: "lost" });
    const { id } = await client.next(({ data }) => data === "lost");
    await rig.server.kill();
    await rig.server.boot();
    // The streams' connection may or may not be back by then.
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

  it("an app's own client stays as it was, and cannot change how the library's connections behave", async () => {
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

  it("nor can the parameters of a URL", async () => {
    const app = await rig.start({
      redis: `${rig.server.url}?keyPrefix=evil:&connectionName=evil&commandTimeout=1`,
    });
    await app.service.notifications.create({ userId: "u", title: "t" });
    expect(await rig.server.admin.exists("sse:inbox:u")).to.equal(1);
    expect(await rig.server.connections()).to.deep.equal(["redis-sse:command"]);
  });

  const refusals = {
    "out of memory": {
      provoke: () => rig.server.admin.config("SET", "maxmemory", "1"),
      undo: () => rig.server.admin.config("SET", "maxmemory", "0"),
    },
    "a replica that takes no writes": {
      provoke: () => rig.server.admin.call("REPLICAOF", "127.0.0.1", "1"),
      undo: () => rig.server.admin.call("REPLICAOF", "NO", "ONE"),
    },
  };
  for (const [what, { provoke, undo }] of Object.entries(refusals)) {
    it(`a server that is ${what}: what has to be stored is refused by a code, and half of nothing is`, async () => {
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
      // What is only passed on needs no memory, and goes on.
      await app.service.publish(channel, { data: "passed" }, { history: false });
      await client.next(({ data }) => data === "passed");
      expect(countMessages(client.events)).to.equal(2);
      await undo();
      await app.service.publish(channel, { data: "kept again" });
      await client.next(({ data }) => data === "kept again");
      // No place in the log was taken by what was refused.
      expect(dataOf(client)).to.deep.equal(["kept", "passed", "kept again"]);
    });
  }
});

describe("a server whose backlog is full, so that nobody gets an answer to a SYN", () => {
  // Its own suite: the server is stopped before the app is made, and is not asked for its connections.
  describeFaults("connects that hang", (rig) => {
    for (const subscriptions of ["shared", "dedicated"] as const) {
      it(`${subscriptions}: cost a stream its deadline, and nothing is held`, async function () {
        const deaf = await RedisServer.start(rig.program, ["--tcp-backlog", "1"]);
        const sockets: Socket[] = [];
        try {
          deaf.signal("SIGSTOP");
          await fillBacklog(deaf.port, sockets);
          const limits = { subscribeTimeoutMs: 400 };
          const app = await rig.start({
            redis: deaf.url,
            subscriptions,
            limits,
            pool: { acquireTimeoutMs: 400 },
          });
          const client = await app.open("a");
          await client.ended;
          expect(client.status).to.equal(200);
          expect(typesOf(client)).to.deep.equal(["error"]);
          expect(app.service.pool.statistics).to.deep.include({ inUse: 0, waiting: 0 });
          for (const socket of sockets) socket.destroy();
          deaf.signal("SIGCONT");
          await untilServed(app, 20_000);
          await app.close();
        } finally {
          for (const socket of sockets) socket.destroy();
          await deaf.stop();
        }
      });
    }
  });
});

/** Resolves when a stream is served again. */
async function untilServed(app: StreamApp, timeoutMs = 10_000): Promise<void> {
  await eventually(async () => {
    const next = await app.open("a");
    await next.next(isConnected, 1_000);
  }, timeoutMs);
}

/** Opens connections until one hangs: the kernel answers no further SYN. */
async function fillBacklog(port: number, sockets: Socket[]): Promise<void> {
  for (let hangs = 0; hangs < 2;) {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    sockets.push(socket);
    const answered = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      // On this machine's own loopback an answer that is to come at all is there at once.
      setTimeout(() => resolve(false), 100);
    });
    hangs = answered ? 0 : hangs + 1;
    expect(sockets.length, "connections that a backlog of 1 took").to.be.lessThan(50);
  }
}

/** Publishes so many megabytes at one stroke: the server can send nothing in between. */
async function flood(server: RedisServer, channel: string, megabytes: number): Promise<void> {
  // Valkey 9.1 counts a text of 16 KB and more in no client's output buffer before it begins to send it.
  const script = `local text = string.rep('x', 10000)
for i = 1, ARGV[2] * 100 do redis.call('PUBLISH', ARGV[1], text) end`;
  await server.admin.eval(script, 0, channel, megabytes);
}
