import { connect, type Socket } from "node:net";

import { expect } from "chai";

import { eventually, repeat } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { RedisServer } from "../support/redis-server.js";
import { countMessages, expectEveryNumber, expectNoSilentHole, publishNumbers } from "../support/sequence.js";
import { faultOf } from "../support/service.js";
import type { SseClient } from "../support/sse-client.js";
import type { StreamApp } from "../support/stream-app.js";

const connected = ({ event }: { event: string }): boolean => event === "connected";

describeFaults("a Redis server that stops, restarts, refuses or is full", (rig) => {
  /** A user of the server's that may do everything, as which an app logs in. */
  async function startAsUser(options: Parameters<typeof rig.start>[0]): Promise<StreamApp> {
    await rig.server.admin.acl("SETUSER", "app", "on", ">pw", "+@all", "~*", "&*");
    return rig.start({ redis: `redis://app:pw@127.0.0.1:${rig.server.port}`, ...options });
  }

  for (const subscriptions of ["shared", "dedicated"] as const) {
    describe(subscriptions, () => {
      // A shared connection that was lost is told as a gap where nothing is kept; a stream with its own ends.
      const history = subscriptions === "shared" ? false : {};

      it("a server that stops for a moment: heartbeats go on, and what follows comes once, in order", async () => {
        const app = await rig.start({ subscriptions, heartbeatMs: 50 });
        const client = await app.openLive("a");
        for (let number = 0; number < 10; number++) await rig.server.admin.publish("a", String(number));
        rig.server.signal("SIGSTOP");
        const before = client.comments.length;
        await eventually(() => expect(client.comments.length).to.be.greaterThan(before + 10));
        rig.server.signal("SIGCONT");
        for (let number = 10; number < 20; number++) await rig.server.admin.publish("a", String(number));
        await client.next(({ data }) => data === "19");
        expect(countMessages(client.events)).to.equal(20);
        expectNoSilentHole(client.events, "a");
      });

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
        if (reader === client) await client.next(({ event }) => event === "gap", 10_000);
        else expect(client.events.map(({ event }) => event)).to.include.members(["error", "closing"]);
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
              for (const { events } of clients)
                expect(events.filter(({ event }) => event === "gap")).to.have.length(gaps);
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
          expect(JSON.parse(refused.events[0]!.data)).to.have.property("code", "REDIS_AUTH");
        }, 10_000);
        const fault: unknown = await app.service.publish("a", { data: 1 }).catch((error: unknown) => error);
        expect(fault).to.have.property("code", "REDIS_AUTH");
        expect((await app.service.status()).redis).to.deep.equal({ fault: "REDIS_AUTH" });
        await rig.server.admin.acl("SETUSER", "app", "resetpass", ">pw");
        const reader = subscriptions === "dedicated" ? await app.openLive("a") : live;
        if (reader === live) await live.next(({ event }) => event === "gap", 10_000);
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
        if (subscriptions === "shared") await kept.next(({ event }) => event === "gap", 10_000);
        await rig.server.admin.publish("ok:1", "x");
        await kept.next(({ data }) => data === "x");
        const again = await app.open("secret");
        await again.ended;
        expect(JSON.parse(again.events[0]!.data)).to.have.property("code", "SUBSCRIBE_REFUSED");
      });

      it("a reader that Redis cuts for its full output buffer: told, and commands go on", async () => {
        await rig.server.admin.config("SET", "client-output-buffer-limit", "pubsub 1mb 512kb 1");
        const limits = { maxBufferedBytes: 64 * 1024 * 1024 };
        const app = await rig.start({ subscriptions, limits, history });
        const client = await app.openLive("a");
        await app.service.pool.incrementWithTtl("before");
        await flood(rig.server, "a", 20);
        if (subscriptions === "dedicated") await client.ended;
        else await client.next(({ event }) => event === "gap", 10_000);
        expect(await app.service.pool.incrementWithTtl("before")).to.equal(2);
        const reader = subscriptions === "dedicated" ? await app.openLive("a") : client;
        await rig.server.admin.publish("a", "again");
        await reader.next(({ data }) => data === "again");
        expect((await app.service.status()).sessions.closed).to.deep.equal(
          subscriptions === "dedicated" ? { "redis-lost": 1 } : {},
        );
      });

      it("an app that is blocked while much is published: told, and live again", async () => {
        await rig.server.admin.config("SET", "client-output-buffer-limit", "pubsub 1mb 512kb 1");
        const limits = { maxBufferedBytes: 64 * 1024 * 1024 };
        const app = await rig.start({ subscriptions, limits, history });
        const client = await app.openLive("a");
        const flooding = flood(rig.server, "a", 20);
        await new Promise((resolve) => setImmediate(resolve)); // the command is on its way
        const until = Date.now() + 1_500;
        while (Date.now() < until); // the fault itself
        await flooding;
        if (subscriptions === "dedicated") await client.ended;
        else await client.next(({ event }) => event === "gap", 10_000);
        const reader = subscriptions === "dedicated" ? await app.openLive("a") : client;
        await rig.server.admin.publish("a", "again");
        await reader.next(({ data }) => data === "again");
      });

      it("a server that accepts and says nothing costs a stream its deadline", async () => {
        const proxy = await rig.proxy();
        const limits = { subscribeTimeoutMs: 300, closeTimeoutMs: 200 };
        const pool = { acquireTimeoutMs: 300 };
        const app = await rig.start({ redis: proxy.url, subscriptions, limits, pool });
        proxy.hold();
        const client = await app.open("a");
        await client.ended;
        expect(client.events.map(({ event }) => event)).to.deep.equal(["error"]);
        expect(JSON.parse(client.events[0]!.data))
          .to.have.property("code")
          .that.matches(/TIMEOUT|REDIS_UNAVAILABLE/);
        proxy.release();
        await app.openLive("a");
      });

      for (const [what, kept] of [
        ["without a history", false],
        ["with one", {}],
      ] as const) {
        it(`a server that is full, ${what}: one stream is told, and none tries again on its behalf`, async () => {
          const limits = { subscribeTimeoutMs: 400 };
          const app = await rig.start({ subscriptions, limits, history: kept });
          const held = subscriptions === "dedicated" ? await app.openLive("first") : null;
          const [, clients] = /connected_clients:(\d+)/.exec(await rig.server.admin.info("clients"))!;
          await rig.server.admin.config("SET", "maxclients", clients!);
          const client = await app.open("a");
          await client.ended;
          expect(client.status).to.equal(200);
          expect(client.retryMs).to.be.within(2_000, 4_000);
          expect(JSON.parse(client.events[0]!.data)).to.have.property("code", "REDIS_UNAVAILABLE");
          if (subscriptions === "dedicated") {
            const rejected = await rig.server.rejectedConnections();
            held!.destroy();
            // The one that logs are read over is everybody's.
            const shared = kept ? ["redis-sse:command"] : [];
            await eventually(async () => expect(await rig.server.connections()).to.deep.equal(shared));
            await app.openLive("a");
            expect(await rig.server.rejectedConnections()).to.equal(rejected);
          } else {
            await rig.server.admin.config("SET", "maxclients", "100");
            await eventually(async () => {
              const next = await app.open("a");
              await next.next(connected, 1_000);
            }, 10_000);
          }
        });
      }
    });
  }

  it("shared: a connection that is killed under load, with a history: each event once, in order, and no gap", async () => {
    // As much as may be published while the connection is away.
    const app = await rig.start({ history: { maxLength: 1e6 }, limits: { maxReplayEvents: 1e6 } });
    const clients = await Promise.all(Array.from({ length: 5 }, () => app.openLive("a")));
    let number = 0;
    const publisher = repeat(() =>
      Promise.all(Array.from({ length: 20 }, () => app.service.publish("a", { data: String(number++) }))),
    );
    for (let kill = 0; kill < 3; kill++) {
      const reached = number + 500;
      await eventually(() => expect(number).to.be.greaterThan(reached));
      await rig.server.killSubscribers();
      await eventually(async () => expect(await rig.server.receiversOf("a")).to.equal(1), 10_000);
    }
    await publisher.stop();
    await Promise.all(
      clients.map((client) => client.next(({ data }) => data === String(number - 1), 10_000)),
    );
    for (const client of clients) expectEveryNumber(client.events, number);
  });

  it("shared: what is published while the password is another one comes once it is right again", async () => {
    const app = await startAsUser({});
    const publisher = await rig.start();
    const client = await app.openLive("a");
    await publishNumbers(publisher.service, "a", 0, 2);
    await client.next(({ data }) => data === "1");
    await rig.server.admin.acl("SETUSER", "app", "resetpass", ">other");
    await rig.server.admin.call("CLIENT", "KILL", "USER", "app");
    await publishNumbers(publisher.service, "a", 2, 4);
    // Until a connection has tried and learned of it.
    await eventually(async () => {
      const { redis } = await app.service.status();
      expect(redis).to.deep.equal({ fault: "REDIS_AUTH" });
    }, 10_000);
    expectEveryNumber(client.events, 2);
    await rig.server.admin.acl("SETUSER", "app", "resetpass", ">pw");
    await client.next(({ data }) => data === "3", 10_000);
    await publishNumbers(publisher.service, "a", 4, 5);
    await client.next(({ data }) => data === "4");
    expectEveryNumber(client.events, 5);
  });

  it("shared: an event for which Redis cuts its reader comes from the log, and those behind it as well", async () => {
    const app = await rig.start();
    const client = await app.openLive("a");
    // What nobody could read fast enough.
    await rig.server.admin.config("SET", "client-output-buffer-limit", "pubsub 150000 0 0");
    const large = "x".repeat(200_000);
    const sent = ["small", large, "behind it", large, "last"];
    for (const data of sent) await app.service.publish("a", { data });
    await client.next(({ data }) => data === "last", 10_000);
    expect(client.events.slice(1).map(({ data }) => data)).to.deep.equal(sent);
    expect((await app.service.status()).sessions.closed).to.deep.equal({});
  });

  it("shared: killed every few milliseconds while streams come and go, the end is what is wanted", async () => {
    const app = await rig.start();
    const kept = await Promise.all(Array.from({ length: 8 }, (_, index) => app.openLive(`room:${index}`)));
    let kills = 0;
    const killer = repeat(async () => {
      await rig.server.killSubscribers();
      kills++;
    });
    for (let round = 0; round < 18; round++) {
      const client = await app.open(`room:${round % 8}`);
      if (round % 3 !== 0) client.destroy();
      else kept.push(client);
    }
    await eventually(() => expect(kills).to.be.greaterThan(200), 20_000);
    await killer.stop();
    await Promise.all(kept.map((client) => client.next(connected, 10_000)));
    await eventually(async () => {
      for (let index = 0; index < 8; index++)
        expect(await rig.server.receiversOf(`room:${index}`), `room ${index}`).to.equal(1);
    }, 15_000);
    await eventually(async () => expect((await app.service.status()).drift?.found).to.equal(false));
    for (let index = 0; index < 8; index++) await rig.server.admin.publish(`room:${index}`, "last");
    await Promise.all(kept.map((client) => client.next(({ data }) => data === "last")));
  });

  it("scripts that the server has forgotten are sent again", async () => {
    const { service } = await rig.start();
    const queue = service.queue("q");
    expect(await service.pool.incrementWithTtl("n")).to.equal(1);
    await queue.enqueue("a", null);
    await rig.server.admin.call("SCRIPT", "FLUSH");
    expect(await service.pool.incrementWithTtl("n")).to.equal(2);
    const { id } = await queue.enqueue("b", null);
    expect(await queue.get(id)).to.have.property("status", "queued");
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
      const before = await everythingOf(rig.server);
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
      expect(await everythingOf(rig.server)).to.deep.equal(before);
      // What is only passed on needs no memory, and goes on.
      await app.service.publish(channel, { data: "passed" }, { history: false });
      await client.next(({ data }) => data === "passed");
      expect(countMessages(client.events)).to.equal(2);
      await undo();
      await app.service.publish(channel, { data: "kept again" });
      await client.next(({ data }) => data === "kept again");
      // No place in the log was taken by what was refused.
      expect(client.events.slice(1).map(({ data }) => data)).to.deep.equal(["kept", "passed", "kept again"]);
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
          expect(client.events.map(({ event }) => event)).to.deep.equal(["error"]);
          expect(app.service.pool.statistics).to.deep.include({ inUse: 0, waiting: 0 });
          for (const socket of sockets) socket.destroy();
          deaf.signal("SIGCONT");
          await eventually(async () => {
            const next = await app.open("a");
            await next.next(connected, 2_000);
          }, 20_000);
          await app.close();
        } finally {
          for (const socket of sockets) socket.destroy();
          await deaf.stop();
        }
      });
    }
  });
});

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

/** All that is stored, as text that can be compared. */
async function everythingOf({ admin }: RedisServer): Promise<Readonly<Record<string, string>>> {
  const keys = (await admin.keys("*")).toSorted();
  const values = await Promise.all(keys.map((key) => admin.dumpBuffer(key)));
  return Object.fromEntries(keys.map((key, index) => [key, values[index]!.toString("base64")]));
}
