import { expect } from "chai";
import { Cluster, Redis } from "ioredis";

import { createRedisSse, type RedisSse, type RedisSseOptions } from "../../lib/index.js";
import { CallLog, expectPassing, outcomeOf } from "../support/call-log.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisCluster, type ClientOptions, type ClusterNode } from "../support/redis-cluster.js";
import { freePort } from "../support/redis-server.js";
import { expectFault, faultOf } from "../support/service.js";
import type { SseClient } from "../support/sse-client.js";
import { startStreamApp, type StreamApp } from "../support/stream-app.js";
import { dataOf, gapsOf, isEvent } from "../support/stream-harness.js";

const HEARTBEAT_MS = 500;
/**
 * A killed node closes its connections. A frozen node is detected by a PING, sent every heartbeat, without a reply
 * within 5 s.
 */
const RECOVERY_MS = { kill: 3 * HEARTBEAT_MS, freeze: HEARTBEAT_MS + 5_000 + 2 * HEARTBEAT_MS } as const;

/** The hash tag of all tasks. All keys with this tag are in one slot. */
const TASKS = "{tasks}";

describe("a Redis Cluster", function () {
  this.timeout(60_000);
  let program: string;
  let cluster: RedisCluster;
  const apps: StreamApp[] = [];
  const services: RedisSse[] = [];
  const loads: CallLog[] = [];
  let names = 0;

  before(async function () {
    program = await need("redis", this);
    this.timeout(60_000);
    cluster = await RedisCluster.start(program);
  });

  afterEach(async () => {
    // A load may have failed the test already.
    await Promise.all(loads.splice(0).map((load) => load.stop().catch(() => {})));
    await Promise.all(apps.splice(0).map((app) => app.close()));
    await Promise.all(services.splice(0).map((service) => service.close()));
    cluster.disconnectClients();
    await cluster.heal();
  });

  after(() => cluster?.stop());

  const name = (begin: string): string => `${begin}-${names++}`;

  const withDefaults = (options: RedisSseOptions): RedisSseOptions => ({
    heartbeatMs: HEARTBEAT_MS,
    ...options,
    redis: options.redis ?? cluster.client(),
  });

  const create = (options: RedisSseOptions = {}): RedisSse => {
    const service = createRedisSse(withDefaults(options));
    services.push(service);
    return service;
  };

  const start = async (options: RedisSseOptions = {}): Promise<StreamApp> => {
    const app = await startStreamApp(withDefaults(options));
    apps.push(app);
    return app;
  };

  const load = (what: string, call: (number: number) => Promise<unknown>): CallLog => {
    const log = new CallLog(what, call);
    loads.push(log);
    return log;
  };

  const otherMaster = async (node: ClusterNode): Promise<ClusterNode> =>
    (await cluster.masters()).find((each) => each !== node)!;

  /** A channel whose history is on another node. */
  const channelElsewhere = async (node: ClusterNode): Promise<string> => {
    for (;;) {
      const channel = name("elsewhere");
      if ((await cluster.masterOf(channel)) !== node) return channel;
    }
  };

  const namesOf = async (begin: string): Promise<readonly (readonly [ClusterNode, string])[]> => {
    const lists = await Promise.all(
      cluster.alive.map(async (node) => (await node.connectionNames()).map((each) => [node, each] as const)),
    );
    return lists.flat().filter(([, each]) => each.startsWith(begin));
  };

  /** The node of the only subscriber connection of the service. */
  const subscribersNode = async (): Promise<ClusterNode> =>
    eventually(async () => {
      const [first, ...others] = await namesOf("redis-sse:subscriber:");
      expect(others, "further subscriber connections").to.have.length(0);
      expect(first, "a subscriber connection").not.to.equal(undefined);
      return first![0];
    });

  /** Expects every acknowledged event once, in order and without a gap event. */
  const expectWhole = async (client: SseClient, acknowledged: readonly number[]): Promise<void> => {
    await eventually(() => expect(dataOf(client).map(Number)).to.include.members([...acknowledged]), 10_000);
    const numbers = dataOf(client).map(Number);
    expect(numbers, "in order, each once").to.deep.equal([...new Set(numbers)].toSorted((a, b) => a - b));
    expect(gapsOf(client), "gaps").to.deep.equal([]);
  };

  /** Starts events, tasks and a writer in the slot of all tasks. */
  const startTraffic = async () => {
    const app = await start();
    const { service } = app;
    const channel = name(`${TASKS}:events`);
    const text = name(`${TASKS}:text`);
    const queue = service.queue(name("jobs"));
    const tasks: string[] = [];
    await service.publish(channel, { data: "-1" });
    const client = await app.openLive(channel);
    const writer = await service.writer(text);
    let written = "";
    const calls = [
      load("publish()", (number) => service.publish(channel, { data: String(number) })),
      load("enqueue()", async (number) => tasks.push((await queue.enqueue("kind", { number })).id)),
      load("write()", (number) => {
        written += `${number} `;
        return writer.write(`${number} `);
      }),
    ] as const;
    const more = (count: number, timeoutMs?: number): Promise<unknown> =>
      Promise.all(calls.map((each) => each.more(count, timeoutMs)));
    await more(5);
    return {
      more,
      /** Resolves when this many more events are published. They need no new keys. */
      morePublished: (count: number) => calls[0].more(count),
      /** Stops all calls and expects that nothing is missing. */
      async finish() {
        await more(5);
        for (const each of calls) await each.stop();
        const [published] = calls;
        await expectWhole(client, published.resolved);
        for (const id of tasks) expect(await queue.get(id), `the task ${id}`).not.to.equal(null);
        await writer.end();
        const reader = await app.open(text);
        await reader.ended;
        expect(dataOf(reader).join(""), "what was written").to.equal(written);
        expect(JSON.parse(reader.events.find(isEvent("closing"))!.data)).to.include({ reason: "completed" });
      },
    };
  };

  describe("during a migration or a failover", () => {
    it("works while a slot moves", async () => {
      const traffic = await startTraffic();
      const from = await cluster.masterOf(TASKS);
      const to = await otherMaster(from);
      const migration = await cluster.beginMigration(TASKS, to);
      // A new task is a new key beside existing keys of its queue, which no node accepts now. These calls wait or reject.
      await traffic.morePublished(5);
      await migration.moveKeys(1);
      // Calls that need keys of both nodes were refused by one of them. Redis 6.2 redirects them to the new node.
      await eventually(async () => {
        const counts = await Promise.all([from, to].map(({ admin }) => admin.info("errorstats")));
        const refused = counts.map((text) => /errorstat_TRYAGAIN:count=(\d+)/.exec(text)?.[1] ?? 0);
        expect(Math.max(...refused.map(Number))).to.be.at.least(3);
      }, 10_000);
      await migration.moveKeys();
      await traffic.morePublished(5);
      await migration.finish();
      await traffic.finish();
    });

    it("rejects a call within 6 s if its keys are on two nodes, and accepts it when they are on one", async () => {
      const service = create();
      const channel = name("apart");
      await service.publish(channel, { data: "first" });
      const migration = await cluster.beginMigration(
        channel,
        await otherMaster(await cluster.masterOf(channel)),
      );
      await migration.moveKeys(1);
      const outcome = await outcomeOf(() => service.publish(channel, { data: "second" }));
      await migration.finish();
      expect(outcome.code).to.be.oneOf(["REDIS_UNAVAILABLE", "TIMEOUT"]);
      expect(outcome.tookMs).to.be.at.most(6_000);
      await service.publish(channel, { data: "third" });
    });

    for (const fault of ["kill", "freeze"] as const) {
      it(`continues with a replica after a ${fault} of the master`, async () => {
        const traffic = await startTraffic();
        const master = await cluster.masterOf(TASKS);
        const replica = await cluster.replicaOf(master);
        await master[fault]();
        await eventually(async () => expect(await replica.isMaster()).to.equal(true), 15_000);
        await traffic.more(5);
        await traffic.finish();
      });
    }

    it("continues after a manual failover", async () => {
      const traffic = await startTraffic();
      await cluster.failover(await cluster.replicaOf(await cluster.masterOf(TASKS)));
      await traffic.finish();
    });
  });

  describe("that does not respond", () => {
    const expectAnswers = async (service: RedisSse): Promise<void> => {
      const calls: Readonly<Record<string, () => Promise<unknown>>> = {
        "publish()": () => service.publish("no answer", { data: "x" }),
        "publish() without history": () => service.publish("no answer", { data: "x" }, { history: false }),
        "enqueue()": () => service.queue("no-answer").enqueue("kind", {}),
        "lastEventId()": () => service.lastEventId("no answer"),
        "writer()": () => service.writer(name("no answer")),
      };
      const report = outcomeOf(() => service.status());
      await Promise.all(
        Object.entries(calls).map(async ([what, call]) => {
          const outcome = await outcomeOf(call);
          expect(outcome.code, what).to.be.oneOf(["REDIS_UNAVAILABLE", "TIMEOUT"]);
          expect(outcome.tookMs, what).to.be.at.most(6_000);
        }),
      );
      expectPassing([await report], "status()");
      expect((await report).tookMs, "status()").to.be.at.most(6_000);
    };

    it("rejects calls within 6 s if all nodes are frozen", async () => {
      const service = create();
      await service.publish("before", { data: "x" });
      await service.queue("before").enqueue("kind", {});
      for (const node of cluster.nodes) node.freeze();
      await expectAnswers(service);
      await expectAnswers(service); // also calls that start later
    });

    it("rejects calls within 6 s if all nodes were frozen before the first call", async () => {
      for (const node of cluster.nodes) node.freeze();
      await expectAnswers(create());
    });

    it("rejects calls within 6 s if no node exists", async () => {
      const nodes = [await freePort(), await freePort()].map((port) => ({ host: "127.0.0.1", port }));
      const client = new Cluster(nodes, { lazyConnect: true });
      client.on("error", () => {});
      try {
        const service = create({ redis: client });
        await expectAnswers(service);
        await expectAnswers(service);
      } finally {
        client.disconnect();
      }
    });

    it("does not execute rejected calls after it recovers", async () => {
      const service = create();
      const count = (): Promise<number> => service.pool.incrementWithTtl("sse:counter");
      expect(await count()).to.equal(1);
      await Promise.all(cluster.nodes.map((node) => node.kill()));
      const outcomes = await Promise.all(Array.from({ length: 3 }, () => outcomeOf(count)));
      for (const { code } of outcomes) expect(code).to.equal("REDIS_UNAVAILABLE");
      await cluster.heal();
      // Queued calls would be sent before this one.
      await eventually(async () => expect(await count()).to.equal(1), 10_000);
    });

    it("does not execute rejected calls after a late failover", async () => {
      const service = create();
      const count = (): Promise<number> => service.pool.incrementWithTtl("sse:late");
      expect(await count()).to.equal(1);
      const master = await cluster.masterOf("sse:late");
      const replica = await cluster.replicaOf(master);
      await eventually(async () => expect(await replica.admin.dbsize()).to.be.at.least(1), 10_000);
      for (const node of [master, replica]) node.freeze();
      const outcomes = await Promise.all(Array.from({ length: 3 }, () => outcomeOf(count)));
      for (const { code } of outcomes) expect(code).to.equal("REDIS_UNAVAILABLE");
      replica.thaw();
      await eventually(async () => expect(await replica.isMaster()).to.equal(true), 15_000);
      await eventually(async () => expect(await count()).to.equal(2), 10_000);
    });

    it("rejects waiting calls when the service closes", async () => {
      const client = new Cluster([{ host: "127.0.0.1", port: await freePort() }], { lazyConnect: true });
      client.on("error", () => {});
      const service = create({ redis: client });
      let code: string | null | undefined;
      void outcomeOf(() => service.publish("waiting", { data: "x" })).then(
        (outcome) => (code = outcome.code),
      );
      // ioredis keeps waiting calls between two connection attempts.
      await eventually(() => expect(service.pool.commands.status).to.equal("reconnecting"));
      await service.close();
      await eventually(() => expect(code).to.be.oneOf(["REDIS_UNAVAILABLE", "CLOSED"]), 1_000);
      client.disconnect();
    });

    it("works when it responds again", async () => {
      const app = await start();
      const client = await app.openLive("thawed");
      await app.service.publish("thawed", { data: "0" });
      for (const node of cluster.nodes) node.freeze();
      await outcomeOf(() => app.service.publish("thawed", { data: "1" }));
      await cluster.heal();
      await eventually(() => app.service.publish("thawed", { data: "2" }), 10_000);
      await client.next(({ data }) => data === "2", 10_000);
    });
  });

  describe("that loses the node of the subscriber", () => {
    for (const fault of ["kill", "freeze"] as const) {
      it(`sends a gap event and new events soon, without history (${fault})`, async () => {
        const app = await start({ history: false });
        const channel = name("live");
        const client = await app.openLive(channel);
        const victim = await subscribersNode();
        const publisher = cluster.alive.find((node) => node !== victim)!;
        // A restarted node may not be connected to all others yet.
        await eventually(async () => {
          await publisher.admin.publish(channel, "before");
          await client.next(({ data }) => data === "before", 500);
        }, 10_000);
        await victim[fault]();
        const hitAt = performance.now();
        load("PUBLISH", (number) => publisher.admin.publish(channel, `after ${number}`));
        await client.next(isEvent("gap"), 15_000);
        await client.next(({ data }) => data.startsWith("after"), 15_000);
        const tookMs = Math.round(performance.now() - hitAt);
        expect(gapsOf(client)).to.deep.equal([{ channels: [channel], reason: "interrupted" }]);
        expect(tookMs, "milliseconds from the fault to the next event").to.be.at.most(RECOVERY_MS[fault]);
      });

      it(`loses no event with history (${fault})`, async () => {
        const app = await start();
        await app.openLive("warm");
        const victim = await subscribersNode();
        const channel = await channelElsewhere(victim);
        const client = await app.openLive(channel);
        const wasMaster = await victim.isMaster();
        const replica = wasMaster ? await cluster.replicaOf(victim) : null;
        const calls = load("publish()", (number) => app.service.publish(channel, { data: String(number) }));
        await calls.more(5);
        await victim[fault]();
        // While a master is missing, the whole cluster refuses writes until a replica replaces it.
        if (replica) await eventually(async () => expect(await replica.isMaster()).to.equal(true), 15_000);
        await calls.more(5);
        const { length } = calls.resolved;
        const acknowledgedAt = performance.now();
        await eventually(() => expect(dataOf(client).length).to.be.at.least(length), 15_000);
        const tookMs = Math.round(performance.now() - acknowledgedAt);
        await calls.stop();
        await expectWhole(client, calls.resolved);
        expect(tookMs, "milliseconds from an answer to its event").to.be.at.most(RECOVERY_MS[fault]);
      });
    }
  });

  it("lists all nodes in status(), with a fault for a killed node", async () => {
    const service = create();
    const addressOf = ({ port }: { port: number }): string => `127.0.0.1:${port}`;
    let report = await service.status();
    // A replica is listed after it has received data from its master.
    const channels = Array.from({ length: 50 }, () => name("replicated"));
    await Promise.all(channels.map((channel) => service.publish(channel, { data: "x" })));
    await eventually(async () => {
      report = await service.status({ drift: false });
      expect(report.nodes.map(({ address }) => address)).to.have.members(cluster.nodes.map(addressOf));
      for (const node of report.nodes)
        expect("maxMemoryPolicy" in node && node.maxMemoryPolicy).to.be.a("string");
    }, 10_000);
    const { nodes, redis } = report;
    const count = (wanted: string): number =>
      nodes.filter((node) => "role" in node && node.role === wanted).length;
    expect([count("master"), count("replica")]).to.deep.equal([3, cluster.nodes.length - 3]);
    expect(redis.connectedClients).to.be.at.least(nodes.length);
    const [victim] = cluster.nodes;
    await victim!.kill();
    await eventually(async () => {
      report = await service.status({ drift: false });
      expect(report.nodes.map(({ address }) => address)).to.have.members(cluster.nodes.map(addressOf));
      const found = report.nodes.filter(({ fault }) => fault !== undefined);
      expect(found).to.deep.equal([{ address: addressOf(victim!), fault: "REDIS_UNAVAILABLE" }]);
    }, 15_000);
  });

  it("keeps the order of 2,500 events of one publisher, without history", async () => {
    const app = await start({ history: false });
    const channel = name("order");
    const client = await app.openLive(channel);
    const expected = Array.from({ length: 2_500 }, (_, number) => String(number));
    await Promise.all(expected.map((data) => app.service.publish(channel, { data })));
    await client.next(({ data }) => data === expected.at(-1), 10_000);
    await eventually(() => expect(dataOf(client).length).to.equal(expected.length));
    expect(dataOf(client)).to.deep.equal(expected);
  });

  describe("with ioredis options of the app", () => {
    /** Uses each feature once, with a Cluster client that has these options. */
    const useAll = async (options: ClientOptions): Promise<void> => {
      const app = await start({ redis: cluster.client(options) });
      const { service } = app;
      const channel = name("options");
      const client = await app.openLive(channel);
      const queue = service.queue(name("options"));
      const worker = queue.worker(() => "done", { pollMs: 20 });
      const task = await queue.enqueue("kind", {});
      const receipts = await Promise.all(
        Array.from({ length: 50 }, (_, number) => service.publish(channel, { data: String(number) })),
      );
      await client.next(({ data }) => data === "49");
      expect(dataOf(client)).to.deep.equal(receipts.map((_, number) => String(number)));
      // Reads must go to the master, so that they see the acknowledged event.
      for (let number = 50; number < 100; number++) {
        const { id } = await service.publish(channel, { data: String(number) });
        expect(await service.lastEventId(channel)).to.equal(id);
      }
      await eventually(async () => expect((await queue.get(task.id))?.status).to.equal("succeeded"));
      await worker.stop();
      const text = name("options");
      const writer = await service.writer(text);
      await writer.write("whole");
      await writer.end();
      const reader = await app.open(text);
      await reader.ended;
      expect(dataOf(reader).join("")).to.equal("whole");
      expect((await service.status()).state).to.equal("open");
    };

    for (const options of [{ keyPrefix: "app:" }, { redisOptions: { keyPrefix: "app:" } }]) {
      it(`ignores the prefix of ${JSON.stringify(options)} for keys and channels`, async () => {
        await useAll(options);
        const masters = await cluster.masters();
        const keys = (await Promise.all(masters.map((node) => node.admin.keys("*")))).flat();
        expect(keys.filter((key) => key.startsWith("sse:"))).not.to.deep.equal([]);
        expect(keys.filter((key) => !key.startsWith("sse:"))).to.deep.equal([]);
      });
    }

    for (const options of [
      { enableAutoPipelining: true },
      { enableOfflineQueue: false },
      { lazyConnect: true, enableOfflineQueue: false },
      { lazyConnect: true },
      { scaleReads: "slave" },
      { scaleReads: "all" },
      { shardedSubscribers: true },
    ] as const) {
      it(`works with ${JSON.stringify(options)}`, () => useAll(options));
    }
  });

  it("has one connection per dedicated stream, and no others except the pool's", async () => {
    const redis = cluster.client({ lazyConnect: true });
    const app = await start({ redis, subscriptions: "dedicated" });
    const channels = Array.from({ length: 40 }, () => name("dedicated"));
    const clients = await Promise.all(channels.map((channel) => app.openLive(channel)));
    await Promise.all(channels.map((channel) => app.service.publish(channel, { data: "x" })));
    await Promise.all(clients.map((client) => client.next(({ data }) => data === "x")));
    const all = (await namesOf("")).map(([, each]) => each);
    const leases = all.filter((each) => each.startsWith("redis-sse:lease:"));
    expect(leases.length, "leased connections").to.equal(40);
    const unnamed = all.filter((each) => !/^redis-sse:(command|subscriber|lease):./.test(each));
    expect(unnamed, "without a name").to.deep.equal([]);
    // At most one command connection per node, and one connection that belongs to no stream.
    expect(all.length - leases.length, "other connections").to.be.at.most(cluster.nodes.length + 1);
    app.leave();
    await eventually(async () => expect(await namesOf("redis-sse:lease:")).to.have.length(0));
  });

  describe("that is configured as a single node", () => {
    const expectAdvice = (error: unknown, what: string): void => {
      expectFault(error, "CONFIG", what);
      expect((error as Error).message, what).to.match(/Cluster client/);
    };

    for (const form of ["a URL", "options", "a client"] as const) {
      it(`rejects calls with a hint to use a Cluster client, for ${form}`, async () => {
        const node = (await cluster.masters())[0]!;
        const url = `redis://127.0.0.1:${node.port}`;
        const client = new Redis(url, { lazyConnect: true });
        const service = create({
          redis: { "a URL": url, options: { host: "127.0.0.1", port: node.port }, "a client": client }[form],
        });
        const elsewhere = await channelElsewhere(node);
        expectAdvice(await faultOf(service.publish(elsewhere, { data: "x" })), "the first use");
        // Also calls that this node could serve: the error must not depend on the channel.
        let here = name("here");
        while ((await cluster.masterOf(here)) !== node) here = name("here");
        expectAdvice(await faultOf(service.publish(here, { data: "x" })), "a channel of this node");
        expectAdvice(await faultOf(service.queue("one").enqueue("kind", {})), "enqueue()");
        expectAdvice(await faultOf(service.writer(name("one"))), "writer()");
        expectAdvice(await faultOf(service.lastEventId(here)), "lastEventId()");
      });
    }
  });
});
