import RedisMock from "ioredis-mock";

import { describeStreams } from "../conformance/stream-suite.js";

/** Each suite has a mock of its own: mocks of one host and port share their data. */
let hosts = 0;

for (const subscriptions of ["shared", "dedicated"] as const) {
  describeStreams("ioredis-mock", subscriptions, async () => {
    const source = new RedisMock({ host: `streams-${hosts++}` });
    const client = source.duplicate();
    return {
      source,
      client,
      stop: async () => {
        await client.quit();
        await source.quit();
      },
    };
  });
}
