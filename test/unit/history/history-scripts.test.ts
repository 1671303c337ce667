import { expect } from "chai";
import RedisMock from "ioredis-mock";
import { useFakeTimers } from "sinon";

import { systemClock } from "../../../lib/clock.js";
import { historyKeys } from "../../../lib/history/history-keys.js";
import { LogPublisher } from "../../../lib/history/log-publisher.js";
import { encodeEnvelope } from "../../../lib/events/inbound-event.js";
import { describeHistory } from "../../conformance/history-suite.js";

// Mocks with the same host and port share their data, so this suite uses its own host.
const source = new RedisMock({ host: "history-scripts" });

describeHistory("ioredis-mock", async () => ({
  connect: () => source.duplicate(),
  stop: () => Promise.resolve(),
}));

describe("maxAgeMs", () => {
  const MAX_AGE_MS = 1_000;

  for (const everyMs of [60, 130, 333, 499, 501, 900]) {
    it(`keeps events at least maxAgeMs and at most 1.5 times as long, with one event every ${everyMs} ms`, async () => {
      const channel = `every ${everyMs}`;
      const publisher = new LogPublisher({
        commands: () => source,
        clock: systemClock,
        keyPrefix: "test:",
        policy: () => ({ maxLength: 10_000, maxAgeMs: MAX_AGE_MS }),
        encodeEnvelope,
      });
      // On the mock, the scripts read the time from `Date`.
      const clock = useFakeTimers({ now: 1_700_000_000_000, toFake: ["Date"] });
      try {
        let oldest = 0;
        for (let count = 0; clock.now < 1_700_000_000_000 + 6 * MAX_AGE_MS; count++) {
          await publisher.publish(channel, { event: undefined, data: String(clock.now) });
          const entries = await source.xrange(historyKeys("test:", channel).log, "-", "+");
          const times = entries.map(([, fields]) => Number(fields[fields.indexOf("d") + 1]));
          const kept = Math.min(count + 1, Math.floor(MAX_AGE_MS / everyMs));
          expect(times.length, "all younger events are there").to.be.at.least(kept);
          oldest = Math.max(oldest, clock.now - times[0]!);
          clock.tick(everyMs);
        }
        expect(oldest, "age of the oldest event").to.be.at.most(1.5 * MAX_AGE_MS + 2 * everyMs);
      } finally {
        clock.restore();
      }
    });
  }
});
