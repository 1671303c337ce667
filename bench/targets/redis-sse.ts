/** redis-sse with its defaults. Channels with the prefix `plain:` have no history. All others have one, a longer one with `long:`. */
import { createServer } from "node:http";

import express from "express";
import { createRedisSse, type StreamEvent } from "redis-sse";
import { sseStream } from "redis-sse/express";

import { announce, redisUrl } from "./support/announce.js";
import { channelOf } from "./support/channel-of.js";

// A scenario sets only the options that it measures: the heartbeat interval, a connection per stream,
// or rules, which give each stream its own copy of each event.
const { heartbeatMs, subscriptions, rules } = JSON.parse(process.env["BENCH_OPTIONS"] ?? "{}") as {
  heartbeatMs?: number;
  subscriptions?: "shared" | "dedicated";
  rules?: boolean;
};
const service = createRedisSse({
  redis: redisUrl,
  history: { channels: { "plain:*": false, "long:*": { maxLength: 10_000 } } },
  ...(heartbeatMs !== undefined && { heartbeatMs }),
  ...(subscriptions !== undefined && { subscriptions, pool: { maxConnections: 10_000 } }),
});
const app = express();
app.get(
  "/stream",
  sseStream(channelOf, {
    service,
    ...(rules === true && {
      filter: () => true,
      transform: (event: StreamEvent) => ({ ...event, data: `${event.data}!` }),
    }),
  }),
);
announce(createServer(app), async () => (await service.status({ drift: false })).history);
