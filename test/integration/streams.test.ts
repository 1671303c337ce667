import { describeFinite } from "../conformance/finite-suite.js";
import { describeResumeLimits } from "../conformance/resume-limits-suite.js";
import { describeResume } from "../conformance/resume-suite.js";
import { describeStreams, type SuiteRedis } from "../conformance/stream-suite.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";

async function startServer(context: Mocha.Context): Promise<SuiteRedis> {
  const server = await RedisServer.start(await need("redis", context));
  return { source: server.url, client: server.admin, stop: () => server.stop() };
}

/** The protocol of ioredis 5 and of servers before Redis 6: a subscribed connection takes no other commands. */
async function startByResp2(context: Mocha.Context): Promise<SuiteRedis> {
  const server = await RedisServer.start(await need("redis", context));
  const source = { host: "127.0.0.1", port: server.port, protocol: 2 } as const;
  return { source, client: server.admin, stop: () => server.stop() };
}

for (const subscriptions of ["shared", "dedicated"] as const) {
  describeStreams("a real server", subscriptions, startServer);
  describeStreams("a real server with RESP2", subscriptions, startByResp2);
  describeResume("a real server", subscriptions, startServer);
  describeResume("a real server with RESP2", subscriptions, startByResp2);
  describeResumeLimits("a real server", subscriptions, startServer);
  describeFinite("a real server", subscriptions, startServer);
}
