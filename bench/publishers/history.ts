/** Publishes through our `publish()`, so that every event is kept. */
import { createRedisSse } from "redis-sse";

import { servePublish } from "./resp-server.js";

const service = createRedisSse({ redis: process.env["BENCH_REDIS_URL"]! });
// Its connection is there before the runner counts the server's.
await service.publish("warm-up", { data: "" });
servePublish((channel, data) => service.publish(channel, { data }));
