/** Ours, with its defaults; channels that begin with `plain:` have no history, all others have. */
import { createServer } from "node:http";

import express from "express";
import { createRedisSse } from "redis-sse";
import { sseStream } from "redis-sse/express";

import { announce, redisUrl } from "./support/announce.js";
import { channelOf } from "./support/channel-of.js";

// Only what a scenario is about is set by it: heartbeats in proportion, or a connection for each stream.
const { heartbeatMs, subscriptions } = JSON.parse(process.env["BENCH_OPTIONS"] ?? "{}") as {
  heartbeatMs?: number;
  subscriptions?: "shared" | "dedicated";
};
const service = createRedisSse({
  redis: redisUrl,
  history: { channels: { "plain:*": false } },
  ...(heartbeatMs !== undefined && { heartbeatMs }),
  ...(subscriptions !== undefined && { subscriptions, pool: { maxConnections: 10_000 } }),
});
const app = express();
app.get("/stream", sseStream(channelOf, { service }));
announce(createServer(app), async () => (await service.status({ drift: false })).history);
