import { expect } from "chai";
import { Redis } from "ioredis";

import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisCluster } from "../support/redis-cluster.js";
import { RedisSentinel } from "../support/redis-sentinel.js";

describe("the suite's cluster", function () {
  this.timeout(60_000);
  let program: string;
  let cluster: RedisCluster;

  before(async function () {
    program = await need("redis", this);
    this.timeout(60_000);
    cluster = await RedisCluster.start(program, { cuttable: true });
  });

  after(() => cluster?.stop());

  it("has three masters, each with a replica", async () => {
    const masters = await cluster.masters();
    expect(masters).to.have.length(3);
    const replicas = await Promise.all(masters.map((master) => cluster.replicaOf(master)));
    expect(new Set([...masters, ...replicas]).size).to.equal(6);
  });

  it("keeps a key over a failover in order", async () => {
    const client = cluster.client();
    await client.set("{over}key", "value");
    const master = await cluster.masterOf("{over}key");
    const replica = await cluster.replicaOf(master);
    await cluster.failover(replica);
    expect(await cluster.masterOf("{over}key")).to.equal(replica);
    expect(await client.get("{over}key")).to.equal("value");
  });

  it("keeps a key half-way to another node, and there", async () => {
    const client = cluster.client();
    await client.set("{moved}key", "value");
    const from = await cluster.masterOf("{moved}key");
    const to = (await cluster.masters()).find((node) => node !== from)!;
    const migration = await cluster.beginMigration("{moved}key", to);
    expect(await client.get("{moved}key"), "before the keys are moved").to.equal("value");
    await migration.moveKeys();
    expect(await client.get("{moved}key"), "with the keys moved").to.equal("value");
    await migration.finish();
    expect(await cluster.masterOf("{moved}key")).to.equal(to);
    expect(await client.get("{moved}key")).to.equal("value");
  });

  it("goes on without a master that is killed or frozen, and is whole again with it", async () => {
    const client = cluster.client();
    for (const fault of ["kill", "freeze"] as const) {
      await client.set(fault, "value");
      const master = await cluster.masterOf(fault);
      const replica = await cluster.replicaOf(master);
      await eventually(async () =>
        expect(await replica.admin.dbsize()).to.equal(await master.admin.dbsize()),
      );
      await master[fault]();
      await eventually(async () => expect(await replica.isMaster()).to.equal(true), 15_000);
      expect(await cluster.masterOf(fault)).to.equal(replica);
      // A client may wait for a frozen node for ever.
      expect(await replica.admin.get(fault)).to.equal("value");
      await cluster.heal();
      expect(await client.get(fault)).to.equal("value");
      expect(await master.isMaster()).to.equal(false);
    }
  });

  it("replaces a master whose bus links are cut, and is whole again with it", async () => {
    const master = await cluster.masterOf("cut");
    const others = cluster.nodes.filter((node) => node !== master);
    for (const node of cluster.nodes) {
      const announced = String(await node.admin.cluster("NODES")).split("\n");
      for (const { port, busPort } of cluster.nodes) {
        expect(announced.join(" ")).to.include(`127.0.0.1:${port}@${busPort}`);
      }
    }
    const replica = await cluster.replicaOf(master);
    cluster.cutBus(master, others);
    await eventually(async () => expect(await replica.isMaster()).to.equal(true), 15_000);
    for (const node of others) {
      const seen = (await node.view()).find(({ id }) => id === master.id);
      expect(seen?.flags).to.include("fail");
    }
    expect(await master.admin.cluster("INFO")).to.include("cluster_state:fail");
    await cluster.heal();
    expect(await master.isMaster()).to.equal(false);
  });

  it("loses a message between two nodes whose link is cut, and no other message", async () => {
    const [from, deaf, near] = await cluster.masters();
    const heard: string[] = [];
    const listeners = [deaf!, near!].map(({ server }) => new Redis(server.url));
    try {
      for (const [index, listener] of listeners.entries()) {
        listener.on("message", (_, message) => heard.push(`${index}: ${message}`));
        await listener.subscribe("channel");
      }
      cluster.cutBus(from!, [deaf!]);
      await from!.admin.publish("channel", "lost");
      await eventually(() => expect(heard).to.deep.equal(["1: lost"]));
      await cluster.heal();
      await from!.admin.publish("channel", "kept");
      await eventually(() => expect(heard).to.have.members(["1: lost", "0: kept", "1: kept"]));
    } finally {
      for (const listener of listeners) listener.disconnect();
      cluster.healBus();
    }
  });

  it("fails to start without a server to start", async () => {
    let failed = false;
    await RedisCluster.start("/bin/false").catch(() => (failed = true));
    expect(failed).to.equal(true);
  });
});

describe("the suite's Sentinels", function () {
  this.timeout(60_000);
  let rig: RedisSentinel;
  let client: Redis;

  before(async function () {
    const program = await need("redis", this);
    this.timeout(60_000);
    rig = await RedisSentinel.start(program);
    client = new Redis({ ...rig.options });
    client.on("error", () => {});
  });

  after(async () => {
    client?.disconnect();
    await rig?.stop();
  });

  it("keep a key over a failover in order", async () => {
    await client.set("key", "value");
    const old = await rig.master();
    const now = await rig.failover();
    expect(now).not.to.equal(old);
    await eventually(async () => expect(await client.get("key")).to.equal("value"));
  });

  it("replace a master that is frozen", async () => {
    await rig.heal();
    const old = await rig.freezeMaster();
    const now = await rig.untilReplaced(old);
    expect(await now.admin.get("key")).to.equal("value");
    await rig.heal();
    expect(await rig.master()).to.equal(now);
    await eventually(async () => expect((await old.admin.role()) as [string]).to.include("slave"));
  });
});
