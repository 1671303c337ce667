import { expect } from "chai";
import RedisMock from "ioredis-mock";

import { ConfigError, createRedisSse, type DrainOptions, type RedisSse } from "../../lib/index.js";
import { FakeSink } from "../support/fake-sink.js";
import { faultOf } from "../support/service.js";

const source = new RedisMock({ host: "readiness" });

describe("RedisSse", () => {
  let sse: RedisSse;

  beforeEach(() => (sse = createRedisSse({ redis: source, limits: { maxSessions: 2 } })));

  afterEach(() => sse.close());

  after(() => source.quit());

  describe("check() without arguments", () => {
    it("returns LIMIT_SESSIONS while the process has no room for a stream", async () => {
      expect(sse.check()).to.equal(null);
      const [first] = await Promise.all([0, 1].map(() => sse.open({}, new FakeSink(), "a")));
      expect(sse.check()).to.have.property("code", "LIMIT_SESSIONS");
      expect(sse.check({}, "a")).to.have.property("code", "LIMIT_SESSIONS");
      await first!.close();
      expect(sse.check()).to.equal(null);
    });

    it("returns CLOSED from the first moment of a drain on, and after close()", async () => {
      const drained = sse.drain({ spreadMs: 0 });
      expect(sse.check()).to.have.property("code", "CLOSED");
      await drained;
      expect(sse.check()).to.have.property("code", "CLOSED");
      const other = createRedisSse({ redis: source });
      const closed = other.close();
      expect(other.check()).to.have.property("code", "CLOSED");
      await closed;
    });
  });

  it("rejects invalid options of drain(), and stays open", async () => {
    for (const [options, name] of [
      [{ timeoutMs: -1 }, "timeoutMs"],
      [{ timeoutMs: 0.5 }, "timeoutMs"],
      [{ timeoutMs: 1_000, spreadMs: 0.5 }, "spreadMs"],
      [{ timeoutMs: 1_000, spreadMs: 1_001 }, "spreadMs"],
      [{ spreadMs: NaN }, "spreadMs"],
      [{ beforeStreamsEnd: 5_000 }, "beforeStreamsEnd"],
      [{ beforeEnd: () => {} }, "beforeEnd"],
    ] as const) {
      const fault = await faultOf(sse.drain(options as DrainOptions));
      expect(fault).to.be.instanceOf(ConfigError);
      expect((fault as ConfigError).message).to.include(name);
    }
    expect(sse.check()).to.equal(null);
    await sse.drain({ timeoutMs: 5, spreadMs: 5, beforeStreamsEnd: () => {} });
  });

  it("spreads a drain over half of an odd timeoutMs", async () => {
    await sse.drain({ timeoutMs: 5 });
  });
});
