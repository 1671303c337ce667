import { describeStreams } from "../conformance/stream-suite.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";

for (const subscriptions of ["shared", "dedicated"] as const) {
  describeStreams("a real server", subscriptions, async (context) => {
    const server = await RedisServer.start(await need("redis", context));
    return { source: server.url, client: server.admin, stop: () => server.stop() };
  });

  // The protocol of ioredis 5 and of servers before Redis 6: a subscribed connection takes no other commands.
  describeStreams("a real server with RESP2", subscriptions, async (context) => {
    const server = await RedisServer.start(await need("redis", context));
    const source = { host: "127.0.0.1", port: server.port, protocol: 2 } as const;
    return { source, client: server.admin, stop: () => server.stop() };
  });
}
