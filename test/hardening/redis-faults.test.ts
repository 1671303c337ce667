import { once } from "node:events";
import { inspect } from "node:util";

import { expect } from "chai";
import createDebug from "debug";
import { Redis } from "ioredis";

import { createRedisSse } from "../../lib/index.js";
import { eventually, settle } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";
import { freePort } from "../support/redis-server.js";
import { expectEveryNumber, publishNumbers } from "../support/sequence.js";

describeFaults("faults of Redis", (rig) => {
  for (const subscriptions of ["shared", "dedicated"] as const) {
    describe(subscriptions, () => {
      it("answers a stream while Redis is down, and serves the next one when it is up", async () => {
        await rig.server.kill();
        const limits = { subscribeTimeoutMs: 300 };
        const app = await rig.start({ subscriptions, limits, pool: { acquireTimeoutMs: 300 } });
        const client = await app.open("a");
        await client.ended;
        expect(client.status).to.equal(200);
        expect(client.events.map(({ event }) => event)).to.deep.equal(["error"]);
        expect(JSON.parse(client.events[0]!.data)).to.have.property("code", "REDIS_UNAVAILABLE");
        expect(client.retryMs).to.be.greaterThan(0);
        await rig.server.boot();
        await eventually(async () => {
          const next = await app.open("a");
          await next.next(({ event }) => event === "connected", 1_000);
        }, 10_000);
        await rig.server.admin.publish("a", "x");
        await eventually(async () => expect(await rig.server.receiversOf("a")).to.be.greaterThan(0));
      });

      it("tells and releases when the ACL refuses a channel, and serves the others", async () => {
        await rig.server.admin.acl(
          "SETUSER",
          "app",
          "on",
          ">pw",
          "allcommands",
          "allkeys",
          "resetchannels",
          "&ok:*",
        );
        const app = await rig.start({ subscriptions, redis: `redis://app:pw@127.0.0.1:${rig.server.port}` });
        const opening = Array.from({ length: 10 }, (_, index) =>
          app.open(index === 4 ? "secret" : `ok:${index}`),
        );
        const clients = await Promise.all(opening);
        await Promise.all(
          clients.map((client, index) =>
            client.next(({ event }) => event === (index === 4 ? "error" : "connected")),
          ),
        );
        expect(JSON.parse(clients[4]!.events[0]!.data)).to.have.property("code", "SUBSCRIBE_REFUSED");
        await clients[4]!.ended;
        await rig.server.admin.publish("ok:5", "x");
        await clients[5]!.next(({ data }) => data === "x");
        await eventually(async () => {
          const { sessions, pool } = await app.service.status();
          expect(sessions.closed).to.deep.equal({ "subscribe-failed": 1 });
          expect(pool.inUse).to.equal(subscriptions === "dedicated" ? 9 : 0);
        });
      });

      it("undoes a subscription that is acknowledged after its deadline", async () => {
        const limits = { subscribeTimeoutMs: 200, closeTimeoutMs: 200 };
        const app = await rig.start({ subscriptions, limits, pool: { acquireTimeoutMs: 200 } });
        (await app.openLive("warm")).destroy();
        await eventually(async () => expect(await rig.server.activeChannels()).to.deep.equal([]));
        await rig.server.admin.client("PAUSE", 1_000, "ALL");
        const client = await app.open("ghost");
        await client.ended;
        expect(client.events.map(({ event }) => event)).to.deep.equal(["error"]);
        await eventually(async () => {
          expect(await rig.server.receiversOf("ghost")).to.equal(0);
          expect(app.service.pool.statistics.inUse).to.equal(0);
          expect((await app.service.status()).sessions.open).to.equal(0);
        }, 10_000);
        const names = await rig.server.connections();
        expect(names.filter((name) => name === "redis-sse:lease")).to.deep.equal([]);
      });

      it("leaves nothing of a client that left while SUBSCRIBE was on its way", async () => {
        const app = await rig.start({ subscriptions });
        (await app.openLive("warm")).destroy();
        await eventually(async () => expect(await rig.server.activeChannels()).to.deep.equal([]));
        await app.service.status();
        const backToBaseline = await rig.server.baseline();
        await rig.server.admin.client("PAUSE", 400, "ALL");
        const controller = new AbortController();
        const arrived = once(app.app.server, "request");
        const request = fetch(`${app.app.url}/stream?channel=gone`, { signal: controller.signal }).catch(
          () => {},
        );
        await arrived;
        await settle();
        controller.abort();
        await request;
        await backToBaseline();
        const { pool, sessions } = await app.service.status();
        expect(pool.inUse).to.equal(0);
        expect(sessions).to.deep.include({ open: 0, opened: 2, closed: { "client-gone": 2 } });
      });

      it("closes within its deadlines while the server answers nothing", async () => {
        const app = await rig.start({ subscriptions, limits: { closeTimeoutMs: 200 } });
        const client = await app.openLive("frozen");
        rig.server.signal("SIGSTOP");
        try {
          await app.service.close();
          await client.ended;
          expect(app.service.pool.statistics).to.deep.include({ inUse: 0, waiting: 0 });
        } finally {
          rig.server.signal("SIGCONT");
        }
        await eventually(async () => expect(await rig.server.connections()).to.deep.equal([]));
      }).timeout(15_000);

      it("keeps a password out of everything it says", async () => {
        const said: string[] = [];
        const { log } = createDebug;
        createDebug.log = (...values: unknown[]) =>
          said.push(values.map((value) => inspect(value)).join(" "));
        createDebug.enable("redis-sse:*");
        try {
          await rig.server.admin.config("SET", "requirepass", "right");
          const app = await rig.start({
            subscriptions,
            redis: `redis://:hunter2@127.0.0.1:${rig.server.port}`,
            limits: { subscribeTimeoutMs: 400 },
          });
          const client = await app.open("a");
          await client.ended;
          const fault: unknown = await app.service.publish("a", { data: 1 }).catch((error: unknown) => error);
          expect(fault).to.have.property("code", "REDIS_AUTH");
          expect(client.events.map(({ event }) => event)).to.deep.equal(["error"]);
          expect(JSON.parse(client.events[0]!.data)).to.have.property("code", "REDIS_AUTH");
          const everything = [
            client.text,
            ...said,
            inspect(fault, { depth: 9 }),
            inspect(app.service, { depth: 4 }),
          ];
          expect(said.length).to.be.greaterThan(0);
          for (const text of everything) expect(text).to.not.include("hunter2");
        } finally {
          createDebug.disable();
          createDebug.log = log;
        }
      });
    });
  }

  for (const [what, reason, history] of [
    ["without a history", "interrupted", false],
    ["with one that is lost", "epoch", { checkMs: 200 }],
  ] as const) {
    it(`shared: streams outlive a restart of Redis, ${what}, are told of the gap, and are live again`, async () => {
      const app = await rig.start({ heartbeatMs: 100, history });
      const clients = await Promise.all([app.openLive("a"), app.openLive("a"), app.openLive("b")]);
      await rig.server.kill();
      // Heartbeats go on while Redis is away.
      const [first] = clients;
      const before = first.comments.length;
      await eventually(() => expect(first.comments.length).to.be.greaterThan(before + 2));
      await rig.server.boot();
      await Promise.all(clients.map((client) => client.next(({ event }) => event === "gap", 10_000)));
      expect(JSON.parse(first.events.at(-1)!.data)).to.deep.equal({ channels: ["a"], reason });
      await rig.server.admin.publish("a", "again");
      await first.next(({ data }) => data === "again");
      expect((await app.service.status()).sessions).to.deep.include({ open: 3, closed: {} });
      expect(await rig.server.receiversOf("a")).to.equal(1);
    }).timeout(20_000);
  }

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
    expect(client.events.slice(2).map(({ event, data }) => [event, data])).to.deep.equal([
      ["gap", '{"channels":["a"],"reason":"epoch"}'],
      ["message", "0"],
      ["message", "1"],
      ["message", "2"],
    ]);
    const ids = client.events.slice(1).map((event) => event.id);
    expect(new Set(ids), "of the lost event, of the gap and of each that came").to.have.property("size", 5);
    expect(ids[0]).to.equal(id);
    const { id: last } = await app.service.publish("a", { data: "3" });
    expect(await client.next(({ data }) => data === "3")).to.have.property("id", last);
    expectEveryNumber(client.events.slice(3), 4);
  });

  it("shared: one connection comes back for all streams, not one for each", async () => {
    const app = await rig.start();
    await Promise.all(Array.from({ length: 100 }, (_, index) => app.openLive(`user:${index}`)));
    const before = Number(/total_connections_received:(\d+)/.exec(await rig.server.admin.info("stats"))?.[1]);
    await rig.server.killSubscribers();
    await eventually(async () => expect(await rig.server.activeChannels()).to.have.length(100), 10_000);
    const after = Number(/total_connections_received:(\d+)/.exec(await rig.server.admin.info("stats"))?.[1]);
    expect(after - before).to.equal(1);
  });

  for (const [what, history] of [
    ["which is told a gap where nothing is kept", false],
    ["which misses nothing", {}],
  ] as const) {
    it(`shared: ends the streams of a channel that the ACL takes away, and no other, ${what}`, async () => {
      await rig.server.admin.acl("SETUSER", "app", "on", ">pw", "allcommands", "allkeys", "allchannels");
      const app = await rig.start({ redis: `redis://app:pw@127.0.0.1:${rig.server.port}`, history });
      const publisher = await rig.start({ history });
      const [kept, taken] = await Promise.all([app.openLive("ok:1"), app.openLive("secret")]);
      await rig.server.admin.acl("SETUSER", "app", "resetchannels", "&ok:*");
      await publishNumbers(publisher.service, "ok:1", 0, 2);
      await taken.ended;
      expect(taken.events.at(-1)).to.deep.include({ event: "closing", data: '{"reason":"revoked"}' });
      if (history === false) await kept.next(({ event }) => event === "gap", 10_000);
      else await kept.next(({ data }) => data === "1", 10_000);
      await publishNumbers(publisher.service, "ok:1", 2, 3);
      await kept.next(({ data }) => data === "2");
      if (history !== false) expectEveryNumber(kept.events, 3);
    });
  }

  it("dedicated: a lost connection ends its stream with a word of when to come back", async () => {
    const app = await rig.start({ subscriptions: "dedicated" });
    const client = await app.openLive("a");
    await rig.server.killSubscribers();
    await client.ended;
    expect(client.events.map(({ event }) => event)).to.deep.equal(["connected", "error", "closing"]);
    expect(client.retryMs).to.be.within(2_000, 4_000);
    await eventually(async () => {
      expect((await app.service.status()).sessions.closed).to.deep.equal({ "redis-lost": 1 });
      expect(app.service.pool.statistics.inUse).to.equal(0);
    });
  });

  it("leaves an app's own client as it was", async () => {
    const own = new Redis(rig.server.url, {
      connectionName: "own",
      keyPrefix: "app:",
      commandTimeout: 1_000,
    });
    const listeners = (): readonly number[] =>
      own
        .eventNames()
        .map((name) => own.listenerCount(name as "error"))
        .concat(own.eventNames().length);
    try {
      await own.set("k", "v");
      const before = listeners();
      const app = await rig.start({ redis: own });
      const client = await app.openLive("a");
      await app.service.publish("a", { data: "x" });
      await client.next(({ data }) => data === "x");
      expect(await rig.server.connections()).to.have.members([
        "own",
        "redis-sse:command",
        "redis-sse:subscriber",
      ]);
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

  it("a debug endpoint's status says that Redis is away, and no more", async () => {
    const service = createRedisSse({ redis: `redis://127.0.0.1:${await freePort()}` });
    try {
      const { redis } = await service.status();
      expect(redis).to.deep.equal({ fault: "REDIS_UNAVAILABLE" });
    } finally {
      await service.close();
    }
  });
});
