import RedisMock from "ioredis-mock";

import { createRedisSse } from "../../../lib/index.js";
import { describeQueue } from "../../conformance/queue-suite.js";

// Mocks of one host and port share their data: this one is the suite's own.
const source = new RedisMock({ host: "queue" });

describeQueue("ioredis-mock", async (options) => {
  const sse = createRedisSse({ redis: source, ...options });
  return { sse, stop: () => sse.close() };
});
