import { expect } from "chai";
import RedisMock from "ioredis-mock";

import { createRedisSse } from "../../../lib/index.js";
import { NotificationService } from "../../../lib/notifications/notification-service.js";
import { describeNotifications } from "../../conformance/notifications-suite.js";
import { FakeClock } from "../../support/fake-clock.js";
import { recordingLog } from "../../support/recording-logger.js";

// Mocks with the same host and port share their data, so this suite uses its own host.
const source = new RedisMock({ host: "notifications" });

describeNotifications("ioredis-mock", async (options) => {
  const sse = createRedisSse({ redis: source, ...options });
  return { sse, stop: () => sse.close() };
});

describe("NotificationService", () => {
  it("uses the time of its clock and the prefix for its keys", async () => {
    const clock = new FakeClock();
    const service = new NotificationService({
      commands: () => source,
      publish: () => Promise.resolve(),
      log: recordingLog().log,
      keyPrefix: "app:",
      clock,
      maxBytes: 1_000,
    });
    await service.create({ userId: "ada", title: "hello" });
    const [notification] = await service.list("ada");
    expect(notification!.createdAt).to.equal(new Date(clock.now()).toISOString());
    expect(await source.llen("app:inbox:ada")).to.equal(1);
  });
});
