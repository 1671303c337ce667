import { expect } from "chai";

import { createRedisSse, type RedisSse } from "../../lib/index.js";
import { need } from "../support/prerequisites.js";
import { RedisCluster } from "../support/redis-cluster.js";
import { expectFault, faultOf } from "../support/service.js";

describe("revoked tickets on a Redis Cluster", function () {
  this.timeout(60_000);
  let cluster: RedisCluster;
  const services: RedisSse[] = [];

  before(async function () {
    cluster = await RedisCluster.start(await need("redis", this), { masters: 3, replicas: 0 });
  });

  after(async () => {
    await Promise.all(services.map((sse) => sse.close()));
    cluster?.disconnectClients();
    await cluster?.stop();
  });

  function start(): RedisSse {
    const sse = createRedisSse({ redis: cluster.client() });
    services.push(sse);
    return sse;
  }

  it("are refused by each process, on each node that has a ticket", async () => {
    const [one, other] = [start(), start()];
    const issue = (): Promise<string[]> =>
      Promise.all(Array.from({ length: 30 }, () => one.tickets.issue({ channels: "a", key: "ann" })));
    const early = await issue();
    await other.revoke({ key: "ann" });
    const late = await issue();
    const counts = await Promise.all(cluster.nodes.map(({ admin }) => admin.keys("sse:ticket:*")));
    for (const { length } of counts) expect(length).to.be.greaterThan(0);
    for (const sse of [one, other, start()]) {
      for (const ticket of early) expectFault(await faultOf(sse.tickets.access(ticket)), "TICKET_INVALID");
      for (const ticket of late) await sse.tickets.access(ticket);
    }
  });
});
