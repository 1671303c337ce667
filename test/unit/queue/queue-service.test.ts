import RedisMock from "ioredis-mock";

import { createRedisSse } from "../../../lib/index.js";
import { describeQueue } from "../../conformance/queue-suite.js";

// Mocks with the same host and port share their data, so this suite uses its own host.
const source = new RedisMock({ host: "queue" });

describeQueue("ioredis-mock", async (options) => {
  const sse = createRedisSse({ redis: source, ...options });
  return { sse, stop: () => sse.close() };
});
