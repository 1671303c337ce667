import { inspect } from "node:util";

import { expect } from "chai";

import { systemClock } from "../../lib/clock.js";
import { readLogger } from "../../lib/logger.js";
import { ConfigError } from "../../lib/errors.js";
import { createRedisSse, type Clock, type RedisSseOptions } from "../../lib/index.js";
import { readOptions, type Settings } from "../../lib/options.js";

const DEFAULTS = {
  redis: undefined,
  keyPrefix: "sse:",
  subscriptions: "shared",
  pool: { maxConnections: 200, acquireTimeoutMs: 5_000, maxWaiting: 1_000, leaseAlarmMs: 3_600_000 },
  history: { maxLength: 1_000, maxAgeMs: 3_600_000, checkMs: 30_000 },
  heartbeatMs: 15_000,
  retryMs: 2_000,
  slowConsumer: "disconnect",
  limits: {
    maxSessions: 50_000,
    maxSessionsPerKey: 100,
    maxChannelsPerSession: 64,
    maxBufferedBytes: 1_048_576,
    maxTotalBufferedBytes: 268_435_456,
    maxStallMs: 30_000,
    peerTimeoutMs: 60_000,
    maxReplayEvents: 10_000,
    maxEventBytes: 262_144,
    maxLifetimeMs: Infinity,
    resolverTimeoutMs: 10_000,
    subscribeTimeoutMs: 5_000,
    closeTimeoutMs: 2_000,
  },
  secrets: null,
  logger: readLogger(undefined),
  clock: systemClock,
};

const BAD_NUMBERS = [0, -1, 1.5, NaN, -Infinity, 2 ** 31, 1e99, "5", "0\r\nevent: x", null, true, [5], {}];

describe("readOptions()", () => {
  it("fills in the documented defaults", () => {
    expect(plain(readOptions())).to.deep.equal(DEFAULTS);
    expect(plain(readOptions({}))).to.deep.equal(DEFAULTS);
  });

  it("uses the default for a value that is undefined", () => {
    const none = { maxLength: undefined, maxAgeMs: undefined, channels: undefined, checkMs: undefined };
    for (const history of [undefined, none]) {
      const options = { keyPrefix: undefined, pool: { maxWaiting: undefined }, limits: undefined, history };
      expect(plain(readOptions(options as unknown as RedisSseOptions))).to.deep.equal(DEFAULTS);
    }
  });

  it("keeps the given values and uses the defaults for the rest of a group", () => {
    const settings = readOptions({
      keyPrefix: "app:sse:",
      subscriptions: "dedicated",
      history: { maxLength: 5, checkMs: 100 },
      heartbeatMs: 1,
      limits: { maxSessions: 7, maxLifetimeMs: 60_000 },
      pool: { maxConnections: 3 },
    });
    expect(plain(settings)).to.deep.equal({
      ...DEFAULTS,
      keyPrefix: "app:sse:",
      subscriptions: "dedicated",
      history: { maxLength: 5, maxAgeMs: 3_600_000, checkMs: 100 },
      heartbeatMs: 1,
      limits: { ...DEFAULTS.limits, maxSessions: 7, maxLifetimeMs: 60_000 },
      pool: { ...DEFAULTS.pool, maxConnections: 3 },
    });
  });

  for (const [name, values] of [
    ["pool", [null, 5, "x", []]],
    ["limits", [null, 5, "x", []]],
    ["history", [null, 5, "x", [], true]],
    ["keyPrefix", ["", "a b", "a{b}", "a\r\nb", "é", "x".repeat(65), 5, null, ["sse:"]]],
    ["subscriptions", ["Shared", "", "pooled", true, null, ["shared"]]],
    ["slowConsumer", [null, false, "newest", {}]],
    ["heartbeatMs", [...BAD_NUMBERS, Infinity]],
    ["retryMs", [...BAD_NUMBERS, Infinity, false]],
  ] as const) {
    it(`rejects an invalid ${name} and names it`, () => {
      for (const value of values)
        expectConfigError(() => read({ [name]: value }), new RegExp(`\\b${name}\\b`));
    });
  }

  it("rejects options that are not an object", () => {
    for (const options of [null, 5, "redis://localhost", true, [], () => {}])
      expectConfigError(() => readOptions(options as unknown as RedisSseOptions), /\boptions\b/);
  });

  it("does not repeat a given string in its errors", () => {
    for (const name of ["keyPrefix", "subscriptions", "heartbeatMs", "limits", "pool", "history", "clock"]) {
      const error = expectConfigError(() => read({ [name]: "redis://u:secret@h" }), new RegExp(name));
      expect(inspect(error)).not.to.contain("secret");
    }
  });

  it("accepts secrets of 32 characters or more, and repeats none in an error", () => {
    const [one, two] = ["a".repeat(32), "b".repeat(40)];
    expect(readOptions({ secret: one }))
      .to.have.property("secrets")
      .that.deep.equals([one]);
    expect(readOptions({ secret: [two, one] }))
      .to.have.property("secrets")
      .that.deep.equals([two, one]);
    for (const secret of ["hunter2".repeat(4), "", [], [one, "hunter2"], [[one]], null, 5, { secret: one }]) {
      const error = expectConfigError(() => read({ secret }), /\bsecret as a text of at least 32 characters/);
      expect(inspect(error)).not.to.match(/hunter2|aaaa/);
    }
  });

  it("accepts heartbeatMs: false", () => {
    expect(read({ heartbeatMs: false })).to.include({ heartbeatMs: false });
  });

  const UNBOUNDED = ["maxLifetimeMs", "peerTimeoutMs"];
  const groups = { pool: Object.keys(DEFAULTS.pool), limits: Object.keys(DEFAULTS.limits) };
  for (const [group, names] of Object.entries(groups)) {
    for (const name of names) {
      it(`rejects ${group}.${name} unless it is a whole number from 1 to 2^31 - 1`, () => {
        const bad = UNBOUNDED.includes(name) ? BAD_NUMBERS : [...BAD_NUMBERS, Infinity];
        for (const value of bad) {
          expectConfigError(() => read({ [group]: { [name]: value } }), new RegExp(`${group}\\.${name}`));
        }
      });
    }
  }

  it("accepts Infinity only for limits.maxLifetimeMs and limits.peerTimeoutMs", () => {
    for (const name of UNBOUNDED) {
      expect(readOptions({ limits: { [name]: Infinity } }).limits).to.have.property(name, Infinity);
    }
    expectConfigError(() => readOptions({ limits: { maxStallMs: Infinity } }), /limits\.maxStallMs/);
  });

  for (const [name, least, range] of [
    ["peerTimeoutMs", 1_000, "1000 to 2147483647, or Infinity"],
    ["maxEventBytes", 4, "4 to 2147483647"],
    ["maxLifetimeMs", 1, "1 to 2147483647, or Infinity"],
  ] as const) {
    it(`rejects a limits.${name} below ${least} and names the valid range`, () => {
      const said = `expected limits.${name} as a whole number from ${range}, got ${least - 1}`;
      expectConfigError(() => read({ limits: { [name]: least - 1 } }), new RegExp(`^${said}$`));
      expect(readOptions({ limits: { [name]: least } }).limits[name]).to.equal(least);
    });
  }

  it("rejects a maxChannelsPerSession that does not fit in an event id", () => {
    expectConfigError(
      () => readOptions({ limits: { maxChannelsPerSession: 321 } }),
      /from 1 to 320, got 321$/,
    );
    expect(readOptions({ limits: { maxChannelsPerSession: 320 } }).limits.maxChannelsPerSession).to.equal(
      320,
    );
  });

  it("rejects a maxBufferedBytes below maxEventBytes and a maxTotalBufferedBytes below maxBufferedBytes", () => {
    const limits = { maxEventBytes: 2_000, maxBufferedBytes: 1_999 };
    expectConfigError(() => readOptions({ limits }), /limits\.maxBufferedBytes/);
    const total = { maxEventBytes: 2_000, maxBufferedBytes: 2_000, maxTotalBufferedBytes: 1_999 };
    expectConfigError(() => readOptions({ limits: total }), /limits\.maxTotalBufferedBytes/);
    expect(() => readOptions({ limits: { maxEventBytes: 2_000, maxBufferedBytes: 2_000 } })).not.to.throw();
  });

  it("rejects an unknown option and names it", () => {
    expectConfigError(() => read({ heartBeatMs: 5 }), /"heartBeatMs"/);
    expectConfigError(() => read({ limits: { maxSession: 5 } }), /limits.*"maxSession"/);
    expectConfigError(() => read({ pool: { max: 5 } }), /pool.*maxConnections, .*"max"/);
    expectConfigError(() => read({ ["x".repeat(1_000)]: 1 }), /^.{1,180}$/);
    expectConfigError(() => read({ history: { maxAge: 5 } }), /history.*"maxAge"/);
    expectConfigError(() => read({ history: { channels: { a: { max: 5 } } } }), /entry 1.*"max"/);
  });

  it("rejects invalid limits of a channel and does not repeat the channel name", () => {
    for (const bounds of [null, 5, "x", true, [], () => {}, { maxAgeMs: 0 }]) {
      const error = expectConfigError(
        () => read({ history: { channels: { a: false, secret: bounds } } }),
        /history\.channels \(entry 2\)/,
      );
      expect(inspect(error)).not.to.contain("secret");
    }
    for (const channels of [null, 5, "x", true, []])
      expectConfigError(() => read({ history: { channels } }), /history\.channels/);
  });

  it("rejects a clock with a missing function", () => {
    const half = [{ now: () => 0 }, { schedule: () => () => {} }, { ...systemClock, monotonic: 5 }];
    for (const clock of [5, null, {}, ...half]) expectConfigError(() => read({ clock }), /\bclock\b/);
  });

  it("limits the delays of the option `clock`, and of the default clock", () => {
    const delays: number[] = [];
    const given: Clock = {
      now: () => 7,
      monotonic: () => 8,
      schedule: (_, delayMs) => () => void delays.push(delayMs),
    };
    const { clock } = readOptions({ clock: given });
    for (const delayMs of [2 ** 31, Infinity, NaN, -1, 5]) clock.schedule(() => {}, delayMs)();
    expect(delays).to.deep.equal([2 ** 31 - 1, 2 ** 31 - 1, 0, 0, 5]);
    expect([clock.now(), clock.monotonic?.()]).to.deep.equal([7, 8]);
  });
});

describe("createRedisSse()", () => {
  const malformed = [
    "redis://u:secret@[bad",
    "redis://u:secret@localhost:99999",
    "redis://u:secret%zz@localhost",
    "http://u:secret@localhost",
    " redis://u:secret@localhost",
    "REDISS://u:secret@localhost",
    "redis:/u:secret@localhost",
    "//u:secret@[bad",
    "u:secret@localhost",
    "localhost:6379",
    "",
    " ",
  ];
  it("rejects a redis option that is not a URL, client or options, and does not repeat it", () => {
    for (const redis of [...malformed, 5, true, null, () => {}]) {
      const given = { redis } as unknown as RedisSseOptions;
      const error = expectConfigError(() => createRedisSse(given), /\bredis\b/);
      expect(inspect(error, { depth: Infinity, showHidden: true })).not.to.contain("secret");
      expect(error).not.to.have.any.keys("input", "cause");
    }
  });

  it("accepts every form of URL without connecting", async () => {
    const urls = [
      "redis://localhost",
      "rediss://u:p%40ss@host:6380/2",
      "redis://[::1]:6379",
      "/run/redis.sock",
    ];
    for (const redis of urls) await createRedisSse({ redis }).close();
  });
});

/** Returns the settings as data. The limits of any channel replace the history policy. */
function plain(settings: Settings): unknown {
  const { policy, checkMs } = settings.history;
  return { ...settings, history: { ...policy("any channel"), checkMs } };
}

function read(options: Record<string, unknown>): unknown {
  return readOptions(options);
}

function expectConfigError(call: () => unknown, message: RegExp): unknown {
  let thrown: unknown;
  try {
    call();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).to.be.instanceOf(ConfigError);
  expect(thrown).to.include({ code: "CONFIG" });
  expect((thrown as ConfigError).message).to.match(message);
  return thrown;
}
