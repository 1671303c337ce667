import { expect } from "chai";

import type { RedisClient } from "../../../lib/redis/client.js";
import { warnOfEviction } from "../../../lib/redis/eviction.js";
import { recordingLog } from "../../support/recording-logger.js";

describe("warnOfEviction()", () => {
  const node = (answer: string | null): object => ({
    info: () => (answer === null ? Promise.reject(new Error("away")) : Promise.resolve(answer)),
  });
  const cluster = (...answers: readonly (string | null)[]): RedisClient =>
    ({ status: "ready", nodes: () => answers.map(node) }) as unknown as RedisClient;

  it("warns once about the cluster node with the most aggressive policy, even if another node is down", async () => {
    const { log, lines } = recordingLog();
    const client = cluster(null, "maxmemory_policy:volatile-lru\r\n", "maxmemory_policy:allkeys-lfu\r\n");
    for (let time = 0; time < 2; time++) await warnOfEviction(client, log);
    expect(lines).to.have.length(1);
    expect(lines[0]).to.include("allkeys-lfu");
  });

  it("does not warn if no node reports an eviction policy", async () => {
    const { log, lines } = recordingLog();
    await warnOfEviction(cluster(null, "", "maxmemory_policy:noeviction\r\n"), log);
    expect(lines).to.deep.equal([]);
  });
});
