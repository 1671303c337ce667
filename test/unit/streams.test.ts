import RedisMock from "ioredis-mock";

import { describeFinite } from "../conformance/finite-suite.js";
import { describeResumeLimits } from "../conformance/resume-limits-suite.js";
import { describeResume } from "../conformance/resume-suite.js";
import { describeStreams, type SuiteRedis } from "../conformance/stream-suite.js";

/** Mocks with the same host and port share their data, so each suite uses its own host. */
let hosts = 0;

async function startMock(): Promise<SuiteRedis> {
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
}

for (const subscriptions of ["shared", "dedicated"] as const) {
  describeStreams("ioredis-mock", subscriptions, startMock);
  describeResume("ioredis-mock", subscriptions, startMock);
  describeResumeLimits("ioredis-mock", subscriptions, startMock);
  describeFinite("ioredis-mock", subscriptions, startMock);
}
