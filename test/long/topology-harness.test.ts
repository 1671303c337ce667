import { expect } from "chai";
import { Redis } from "ioredis";

import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisCluster } from "../support/redis-cluster.js";

describe("the test cluster", function () {
  this.timeout(60_000);
  let program: string;
  let cluster: RedisCluster;

  before(async function () {
    program = await need("redis", this);
    this.timeout(60_000);
    cluster = await RedisCluster.start(program, { cuttable: true });
  });

  after(() => cluster?.stop());

  it("replaces a master whose bus links are cut, and heals when they return", async () => {
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

  it("loses only messages between two nodes whose link is cut", async () => {
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
});
