import { describeStreams } from "../conformance/stream-suite.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";

for (const subscriptions of ["shared", "dedicated"] as const) {
  describeStreams("a real server", subscriptions, async (context) => {
    const server = await RedisServer.start(await need("redis", context));
    return { source: server.url, client: server.admin, stop: () => server.stop() };
  });
}
