import RedisMock from "ioredis-mock";

import { describeHistory } from "../../conformance/history-suite.js";

// Mocks of one host and port share their data: this one is the suite's own.
describeHistory("ioredis-mock", async () => {
  const source = new RedisMock({ host: "history-scripts" });
  return {
    connect: () => source.duplicate(),
    stop: async () => void (await source.quit()),
  };
});
