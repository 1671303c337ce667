import { inspect } from "node:util";

import { expect } from "chai";
import RedisMock from "ioredis-mock";

import { createRedisSse, RedisSseError } from "../../../lib/index.js";
import { NotificationService } from "../../../lib/notifications/notification-service.js";
import { describeNotifications } from "../../conformance/notifications-suite.js";
import { FakeClock } from "../../support/fake-clock.js";

// Mocks of one host and port share their data: this one is the suite's own.
const source = new RedisMock({ host: "notifications" });

describeNotifications("ioredis-mock", async (options) => {
  const sse = createRedisSse({ redis: source, ...options });
  return { sse, stop: () => sse.close() };
});

describe("NotificationService", () => {
  it("takes its time from the clock, and its keys from the prefix", async () => {
    const clock = new FakeClock();
    const commands = source.duplicate();
    const service = new NotificationService({
      commands: () => commands,
      publish: () => Promise.resolve(),
      keyPrefix: "app:",
      clock,
      maxBytes: 1_000,
    });
    await service.create({ userId: "ada", title: "hello" });
    const [notification] = await service.list("ada");
    expect(notification!.createdAt).to.equal(new Date(clock.now()).toISOString());
    expect(await source.llen("app:inbox:ada")).to.equal(1);
    await commands.quit();
  });

  it("tells nothing of the error with which Redis refused to store or to list", async () => {
    const service = new NotificationService({
      commands: () => {
        throw Object.assign(new Error("WRONGPASS for redis://app:hunter2@db.internal"), {
          name: "ReplyError",
          command: { name: "auth", args: ["3", "AUTH", "app", "hunter2"] },
        });
      },
      publish: () => Promise.resolve(),
      keyPrefix: "app:",
      clock: new FakeClock(),
      maxBytes: 1_000,
    });
    for (const call of [() => service.create({ userId: "ada", title: "hello" }), () => service.list("ada")]) {
      const fault = await call().then(
        () => expect.fail("expected a rejection"),
        (error: unknown) => error as RedisSseError,
      );
      expect(fault).to.be.instanceOf(RedisSseError);
      expect(fault.code).to.equal("REDIS_AUTH");
      expect(inspect(fault, { depth: 9, showHidden: true })).to.not.match(/hunter2|db\.internal/);
    }
  });
});
