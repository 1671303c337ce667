import { expect } from "chai";

import type { RedisClient } from "../../../lib/redis/client.js";
import { parseNodes, readNodes } from "../../../lib/status/nodes.js";

const LIST = [
  "07c3 127.0.0.1:30004@31004,host4 slave e7d1 0 1426238317239 4 connected",
  "67ed 127.0.0.1:30002@31002,host2 master,fail - 1426238316232 1426238316230 2 disconnected 5461-10922",
  "292f 127.0.0.1:30003@31003 master,fail? - 0 1426238318243 3 connected 10923-16383",
  "6ec2 ::1:30005@31005 slave,fail 67ed 0 1426238316232 5 connected",
  "824f :0@0 slave,noaddr,fail 292f 0 1426238317741 6 disconnected",
  "e7d1 127.0.0.1:30001@31001 myself,master - 0 0 1 connected 0-5460",
  "",
].join("\n");

describe("parseNodes()", () => {
  it("lists all nodes with an address and marks failed nodes", () => {
    const nodes = parseNodes(LIST);
    expect(nodes.map((node) => [node.address, node.fault ?? ("role" in node && node.role)])).to.deep.equal([
      ["127.0.0.1:30004", "replica"],
      ["127.0.0.1:30002", "REDIS_UNAVAILABLE"],
      ["127.0.0.1:30003", "master"],
      ["::1:30005", "REDIS_UNAVAILABLE"],
      ["127.0.0.1:30001", "master"],
    ]);
    expect(parseNodes("")).to.deep.equal([]);
  });

  it("uses the addresses of the app's natMap", () => {
    const to = { host: "redis.example.com", port: 7_001 };
    for (const natMap of [
      { "127.0.0.1:30001": to },
      (key: string) => (key === "127.0.0.1:30001" ? to : null),
    ]) {
      const addresses = parseNodes(LIST, natMap).map(({ address }) => address);
      expect(addresses.slice(-2)).to.deep.equal(["::1:30005", "redis.example.com:7001"]);
    }
  });
});

describe("readNodes()", () => {
  const node = {
    options: { host: "127.0.0.1", port: 30_002 },
    status: "ready",
    info: (section: string) =>
      Promise.resolve(section === "clients" ? "connected_clients:3\r\nmaxclients:100" : "role:master\r\n"),
  };
  let refreshed = 0;
  const clusterOf = (list: () => Promise<string>): RedisClient =>
    ({
      status: "ready",
      options: {},
      refreshSlotsCache: (callback: () => void) => {
        refreshed++;
        callback();
      },
      nodes: () => [node],
      ping: () => Promise.resolve("PONG"),
      cluster: list,
    }) as unknown as RedisClient;

  it("lists the connected nodes and the other nodes of the cluster, each once", async () => {
    const { redis, nodes } = await readNodes(() => clusterOf(() => Promise.resolve(LIST)));
    expect(nodes.map(({ address, fault }) => [address, fault])).to.deep.equal([
      ["127.0.0.1:30002", undefined],
      ["127.0.0.1:30004", undefined],
      ["127.0.0.1:30003", undefined],
      ["::1:30005", "REDIS_UNAVAILABLE"],
      ["127.0.0.1:30001", undefined],
    ]);
    expect(refreshed, "it refreshes the slots to connect to them").to.equal(1);
    expect(redis).to.deep.equal({ connectedClients: 3, maxClients: 100 });
  });

  it("lists only the connected nodes if CLUSTER NODES is denied", async () => {
    const refused = Object.assign(new Error("NOPERM no permissions"), { name: "ReplyError" });
    const { nodes } = await readNodes(() => clusterOf(() => Promise.reject(refused)));
    expect(nodes.map(({ address }) => address)).to.deep.equal(["127.0.0.1:30002"]);
  });
});
