import { expect } from "chai";
import * as fc from "fast-check";
import RedisMock from "ioredis-mock";
import { runInNewContext } from "node:vm";

import { createRedisSse, type AccessAnswer, type RedisSse } from "../../../lib/index.js";
import { FakeClock } from "../../support/fake-clock.js";
import { FakeSink } from "../../support/fake-sink.js";

const source = new RedisMock({ host: "stream-access" });

describe("StreamAccess", () => {
  let clock: FakeClock;
  let sse: RedisSse;

  beforeEach(() => {
    clock = new FakeClock();
    sse = createRedisSse({ redis: source, clock, limits: { maxSessionsPerKey: 1 } });
  });

  afterEach(() => sse.close());

  after(() => source.quit());

  const codeOf = (answer: unknown, request = {}): string | null =>
    sse.check(request, answer as AccessAnswer)?.code ?? null;

  it("accepts an object with channels and rights", () => {
    const later = clock.now() + 1;
    for (const answer of [
      { channels: "a" },
      { channels: ["a", "b"], key: undefined, expiresAt: undefined, resume: undefined },
      { channels: "a", key: 7n, expiresAt: later, resume: "all" },
      { channels: "a", key: null, expiresAt: null, resume: false },
      { channels: "a", expiresAt: new Date(later) },
      { channels: "a", expiresAt: runInNewContext(`new Date(${later})`) as Date },
      { channels: "a", expiresAt: Infinity },
      { channels: "a", expiresAt: 1e300 },
      Object.assign(Object.create(null) as object, { channels: "a" }),
    ]) {
      expect(codeOf(answer)).to.equal(null);
    }
  });

  it("refuses an object without channels, with another property, or with other channels", () => {
    for (const answer of [
      {},
      { key: "ann" },
      { channel: "a" },
      { channels: "a", expires: 1 },
      { channels: "a", toString: () => "" },
      { channels: { channels: "a" } },
      { channels: 7 },
      { channels: [["a"]] },
      new Map([["channels", "a"]]),
      new Set(["a"]),
      new Date(),
      () => "a",
      Object.create(null),
    ]) {
      expect(codeOf(answer), String(answer?.constructor)).to.equal("INVALID_CHANNEL");
    }
  });

  it("refuses an object with no channel, or with a reserved one", () => {
    for (const channels of [null, undefined, false, [], "sse:wake", "__keyevent@0__:set"]) {
      expect(codeOf({ channels }), String(channels)).to.equal("FORBIDDEN");
    }
  });

  it("reports a right of another type as a mistake of the application", () => {
    for (const rights of [
      { key: ["ann"] },
      { key: true },
      { expiresAt: "2030-01-01" },
      { expiresAt: NaN },
      { expiresAt: new Date("never") },
      { expiresAt: {} },
      { expiresAt: 1n },
      { resume: "none" },
      { resume: null },
    ]) {
      expect(codeOf({ channels: "a", ...rights }), Object.keys(rights)[0]).to.equal("CONFIG");
    }
  });

  it("refuses a right that has ended, and does so after it has checked the channels", () => {
    for (const expiresAt of [clock.now(), clock.now() - 1, 0, -1, -Infinity, new Date(0)]) {
      expect(codeOf({ channels: "a", expiresAt })).to.equal("UNAUTHORIZED");
      expect(codeOf("a", { expiresAt })).to.equal("UNAUTHORIZED");
      expect(codeOf({ channels: null, expiresAt })).to.equal("FORBIDDEN");
    }
  });

  it("prefers the rights of the answer to those of the mount", async () => {
    const past = { expiresAt: 0 };
    expect(codeOf({ channels: "a", expiresAt: null }, past)).to.equal(null);
    expect(codeOf({ channels: "a" }, past)).to.equal("UNAUTHORIZED");
    const sinks = [new FakeSink(), new FakeSink(), new FakeSink()];
    await sse.open({ key: "ann" }, sinks[0]!, { channels: "a", key: "bob" });
    expect(codeOf({ channels: "a" }, { key: "ann" })).to.equal(null);
    expect(codeOf({ channels: "a", key: "bob" }, { key: "ann" })).to.equal("LIMIT_SESSIONS_PER_KEY");
    expect(codeOf({ channels: "a", key: null }, { key: "bob" })).to.equal(null);
    expect(codeOf({ channels: "a", key: undefined }, { key: "bob" })).to.equal("LIMIT_SESSIONS_PER_KEY");
  });

  it("always leads to a stream of its channels or to an answer, whatever the resolver returns", async () => {
    const right = fc.oneof(
      fc.anything({ withBigInt: true, withDate: true, withNullPrototype: true }),
      fc.date({ noInvalidDate: false }),
      fc.constantFrom("all", "ann", Infinity, -Infinity, NaN, 1e300),
    );
    const channel = fc.oneof(fc.string({ maxLength: 4 }), fc.constantFrom("a", "sse:a", "__keyspace@0__:a"));
    const access = fc.record(
      {
        channels: fc.oneof(channel, fc.array(channel, { maxLength: 3 }), fc.anything()),
        key: right,
        expiresAt: right,
        resume: right,
        other: right,
      },
      { requiredKeys: ["channels"], noNullPrototype: false },
    );
    const anyAnswer = fc.oneof(
      access,
      fc.anything({ withNullPrototype: true, withMap: true, withSet: true }),
    );
    await fc.assert(
      fc.asyncProperty(anyAnswer, async (answer) => {
        const sink = new FakeSink();
        const session = await sse.open({}, sink, answer as AccessAnswer).catch(() => null);
        if (session === null) {
          expect(sink.answered?.status).to.be.oneOf([200, 400, 401, 403, 500]);
          expect(sink.answered!.body.toString()).to.match(/"code":"[A-Z_]+"/);
          return;
        }
        const given = isObject(answer) ? (answer as { channels: unknown }).channels : answer;
        const names = [given].flat();
        expect(names).to.include.members([...session.channels]);
        expect(sink.head?.status).to.equal(200);
        await session.close();
      }),
      { numRuns: 500 },
    );
    expect((await sse.status({ drift: false })).sessions.open).to.equal(0);
  });
});

const isObject = (value: unknown): boolean =>
  typeof value === "object" && value !== null && !Array.isArray(value);
