/** Publishes through our `publish()`: what is on a channel with history is kept. */
import { createRedisSse } from "redis-sse";

import { servePublish } from "./resp-server.js";

const service = createRedisSse({
  redis: process.env["BENCH_REDIS_URL"]!,
  history: { channels: { "plain:*": false, "long:*": { maxLength: 10_000 } } },
});
await service.publish("warm-up", { data: "" }); // the connection is there, and the script known
servePublish((channel, data) => service.publish(channel, { data }));
