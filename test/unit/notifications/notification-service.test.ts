import { inspect } from "node:util";

import { expect } from "chai";
import RedisMock from "ioredis-mock";

import { createRedisSse } from "../../../lib/index.js";
import { NotificationService } from "../../../lib/notifications/notification-service.js";
import { describeNotifications } from "../../conformance/notifications-suite.js";
import type { RedisClient } from "../../../lib/redis/client.js";
import { FakeClock } from "../../support/fake-clock.js";
import { expectFault, faultOf } from "../../support/service.js";

// Mocks of one host and port share their data: this one is the suite's own.
const source = new RedisMock({ host: "notifications" });

describeNotifications("ioredis-mock", async (options) => {
  const sse = createRedisSse({ redis: source, ...options });
  return { sse, stop: () => sse.close() };
});

describe("NotificationService", () => {
  const serviceOver = (commands: () => RedisClient, clock = new FakeClock()): NotificationService =>
    new NotificationService({
      commands,
      publish: () => Promise.resolve(),
      keyPrefix: "app:",
      clock,
      maxBytes: 1_000,
    });

  it("takes its time from the clock, and its keys from the prefix", async () => {
    const clock = new FakeClock();
    const service = serviceOver(() => source, clock);
    await service.create({ userId: "ada", title: "hello" });
    const [notification] = await service.list("ada");
    expect(notification!.createdAt).to.equal(new Date(clock.now()).toISOString());
    expect(await source.llen("app:inbox:ada")).to.equal(1);
  });

  it("tells nothing of the error with which Redis refused to store or to list", async () => {
    const service = serviceOver(() => {
      throw Object.assign(new Error("WRONGPASS for redis://app:hunter2@db.internal"), {
        name: "ReplyError",
        command: { name: "auth", args: ["3", "AUTH", "app", "hunter2"] },
      });
    });
    for (const call of [() => service.create({ userId: "ada", title: "hello" }), () => service.list("ada")]) {
      const fault = await faultOf(call());
      expectFault(fault, "REDIS_AUTH");
      expect(inspect(fault, { depth: 9, showHidden: true })).to.not.match(/hunter2|db\.internal/);
    }
  });
});
