import { inspect } from "node:util";

import { expect } from "chai";

import { systemClock } from "../../lib/clock.js";
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
  clock: systemClock,
};

describe("readOptions()", () => {
  it("fills in the documented defaults", () => {
    expect(plain(readOptions())).to.deep.equal(DEFAULTS);
    expect(plain(readOptions({}))).to.deep.equal(DEFAULTS);
  });

  it("takes the default for a value that is undefined", () => {
    const none = { maxLength: undefined, maxAgeMs: undefined, channels: undefined, checkMs: undefined };
    for (const history of [undefined, none]) {
      const options = { keyPrefix: undefined, pool: { maxWaiting: undefined }, limits: undefined, history };
      expect(plain(readOptions(options as unknown as RedisSseOptions))).to.deep.equal(DEFAULTS);
    }
  });

  it("keeps what it is given, and the defaults of the rest of a group", () => {
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

  for (const options of [null, 5, "redis://localhost", true, [], () => {}]) {
    it(`refuses ${inspect(options)} in place of options`, () => {
      expectConfigError(() => readOptions(options as unknown as RedisSseOptions), /\boptions\b/);
    });
  }

  for (const group of ["pool", "limits", "history"]) {
    for (const value of [null, 5, "x", [], ...(group === "history" ? [true] : [])]) {
      it(`refuses ${group}: ${inspect(value)}`, () => {
        expectConfigError(() => read({ [group]: value }), new RegExp(`\\b${group}\\b`));
      });
    }
  }

  for (const keyPrefix of ["", "a b", "a{b}", "a\r\nb", "é", "x".repeat(65), 5, null, ["sse:"]]) {
    it(`refuses keyPrefix: ${inspect(keyPrefix)}`, () => {
      expectConfigError(() => read({ keyPrefix }), /keyPrefix/);
    });
  }

  it("repeats no text that was given in the wrong place", () => {
    for (const name of ["keyPrefix", "subscriptions", "heartbeatMs", "limits", "pool", "history", "clock"]) {
      const error = expectConfigError(() => read({ [name]: "redis://u:secret@h" }), new RegExp(name));
      expect(inspect(error)).not.to.contain("secret");
    }
  });

  for (const subscriptions of ["Shared", "", "pooled", true, null, ["shared"]]) {
    it(`refuses subscriptions: ${inspect(subscriptions)}`, () => {
      expectConfigError(() => read({ subscriptions }), /subscriptions/);
    });
  }

  const BAD_NUMBERS = [0, -1, 1.5, NaN, -Infinity, 2 ** 31, 1e99, "5", "0\r\nevent: x", null, true, [5], {}];
  for (const name of ["heartbeatMs", "retryMs"]) {
    for (const value of [...BAD_NUMBERS, Infinity]) {
      it(`refuses ${name}: ${inspect(value)}`, () => {
        expectConfigError(() => read({ [name]: value }), new RegExp(name));
      });
    }
  }

  it("takes heartbeatMs: false", () => {
    expect(read({ heartbeatMs: false })).to.include({ heartbeatMs: false });
  });

  const UNBOUNDED = ["maxLifetimeMs", "peerTimeoutMs"];
  const groups = { pool: Object.keys(DEFAULTS.pool), limits: Object.keys(DEFAULTS.limits) };
  for (const [group, names] of Object.entries(groups)) {
    for (const name of names) {
      it(`refuses ${group}.${name} unless it is a whole number from 1 to 2^31 - 1`, () => {
        const bad = UNBOUNDED.includes(name) ? BAD_NUMBERS : [...BAD_NUMBERS, Infinity];
        for (const value of bad) {
          expectConfigError(() => read({ [group]: { [name]: value } }), new RegExp(`${group}\\.${name}`));
        }
      });
    }
  }

  it("takes Infinity for limits.maxLifetimeMs and limits.peerTimeoutMs, and for nothing else", () => {
    for (const name of UNBOUNDED) {
      expect(readOptions({ limits: { [name]: Infinity } }).limits).to.have.property(name, Infinity);
    }
    expectConfigError(() => readOptions({ limits: { maxStallMs: Infinity } }), /limits\.maxStallMs/);
  });

  it("refuses a limits.peerTimeoutMs in which nothing could be told of a peer", () => {
    expectConfigError(() => readOptions({ limits: { peerTimeoutMs: 999 } }), /limits\.peerTimeoutMs/);
    expect(readOptions({ limits: { peerTimeoutMs: 1_000 } }).limits.peerTimeoutMs).to.equal(1_000);
  });

  it("refuses a limits.maxEventBytes without room for every character", () => {
    expectConfigError(() => readOptions({ limits: { maxEventBytes: 3 } }), /limits\.maxEventBytes/);
    expect(readOptions({ limits: { maxEventBytes: 4 } }).limits.maxEventBytes).to.equal(4);
  });

  it("says one lower bound of limits.peerTimeoutMs, and that Infinity is taken", () => {
    for (const value of [0, 1.5, 999, null]) {
      expectConfigError(
        () => read({ limits: { peerTimeoutMs: value } }),
        /^expected limits\.peerTimeoutMs as a whole number from 1000 to 2147483647, or Infinity, got /,
      );
    }
    expectConfigError(
      () => read({ limits: { maxLifetimeMs: 0 } }),
      /from 1 to 2147483647, or Infinity, got 0$/,
    );
    expectConfigError(() => read({ limits: { maxStallMs: 0 } }), /from 1 to 2147483647, got 0$/);
  });

  for (const slowConsumer of [null, false, "newest", {}]) {
    it(`refuses slowConsumer: ${inspect(slowConsumer)}`, () => {
      expectConfigError(() => read({ slowConsumer }), /slowConsumer/);
    });
  }

  it("refuses an event size that no buffer could hold", () => {
    const limits = { maxEventBytes: 2_000, maxBufferedBytes: 1_999 };
    expectConfigError(() => readOptions({ limits }), /limits\.maxBufferedBytes/);
    expect(() => readOptions({ limits: { maxEventBytes: 2_000, maxBufferedBytes: 2_000 } })).not.to.throw();
  });

  it("refuses an option it does not know, and names it", () => {
    expectConfigError(() => read({ heartBeatMs: 5 }), /"heartBeatMs"/);
    expectConfigError(() => read({ limits: { maxSession: 5 } }), /limits.*"maxSession"/);
    expectConfigError(() => read({ pool: { max: 5 } }), /pool.*"max"/);
    expectConfigError(() => read({ history: { maxAge: 5 } }), /history.*"maxAge"/);
    expectConfigError(() => read({ history: { channels: { a: { max: 5 } } } }), /entry 1.*"max"/);
  });

  it("keeps no history where it is told so, of all channels or of some", () => {
    expect(readOptions({ history: false }).history.policy("a")).to.equal(null);
    const { policy: history } = readOptions({
      history: {
        maxLength: 5,
        channels: {
          "cursors:*": false,
          "a.b": false,
          "*:log": { maxAgeMs: 7 },
          "cursors:log": {},
          "x*y*": { maxLength: 3 },
        },
      },
    }).history;
    const bounds = { maxLength: 5, maxAgeMs: 3_600_000 };
    expect(history("cursors:1")).to.equal(null);
    expect(history("cursors:\n")).to.equal(null);
    expect(history("my-cursors:1")).to.deep.equal(bounds);
    expect(history("a.b")).to.equal(null);
    expect(history("axb")).to.deep.equal(bounds);
    expect(history("my:log")).to.deep.equal({ maxLength: 5, maxAgeMs: 7 });
    // The first that matches counts.
    expect(history("cursors:log")).to.equal(null);
    expect(history("x1y2")).to.deep.equal({ ...bounds, maxLength: 3 });
    expect(history("x1")).to.deep.equal(bounds);
  });

  for (const [name, most] of [
    ["maxLength", 1_000_000],
    ["maxAgeMs", 365 * 24 * 3_600_000],
  ] as const) {
    it(`refuses history.${name} unless it is a whole number from 1 to ${most}, of all channels and of some`, () => {
      const bad = [0, -1, 1.5, NaN, Infinity, most + 1, "5", null, true, [5], {}];
      for (const value of bad) {
        expectConfigError(() => read({ history: { [name]: value } }), new RegExp(`history\\.${name}`));
        const channels = { a: false, "b*": { [name]: value } };
        expectConfigError(
          () => read({ history: { channels } }),
          new RegExp(`history\\.channels \\(entry 2\\)\\.${name}`),
        );
      }
      expect(readOptions({ history: { [name]: most } }).history.policy("a")).to.have.property(name, most);
    });
  }

  it("refuses what is no channel's bounds, and repeats no channel's name", () => {
    for (const bounds of [null, 5, "x", true, [], () => {}]) {
      const error = expectConfigError(
        () => read({ history: { channels: { secret: bounds } } }),
        /history\.channels \(entry 1\)/,
      );
      expect(inspect(error)).not.to.contain("secret");
    }
    for (const channels of [null, 5, "x", true, []]) {
      expectConfigError(() => read({ history: { channels } }), /history\.channels/);
    }
    expectConfigError(() => read({ history: { channels: { "": false } } }), /entry 1/);
  });

  for (const clock of [
    5,
    null,
    {},
    { now: () => 0 },
    { schedule: () => () => {} },
    { ...systemClock, monotonic: 5 },
  ]) {
    it(`refuses clock: ${inspect(clock)}`, () => {
      expectConfigError(() => read({ clock }), /\bclock\b/);
    });
  }

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
    "u:secret@localhost",
    "localhost:6379",
    "",
    " ",
  ];
  for (const url of malformed) {
    it(`refuses redis: ${JSON.stringify(url)} and repeats nothing of it`, () => {
      const error = expectConfigError(() => createRedisSse({ redis: url }), /\bredis\b/);
      expect(inspect(error, { depth: Infinity, showHidden: true })).not.to.contain("secret");
      expect(error).not.to.have.property("input");
      expect(error).not.to.have.property("cause");
    });
  }

  for (const redis of [5, true, null, () => {}]) {
    it(`refuses redis: ${inspect(redis)}`, () => {
      expectConfigError(() => createRedisSse({ redis } as unknown as RedisSseOptions), /\bredis\b/);
    });
  }

  it("takes every form of URL without connecting", async () => {
    const urls = [
      "redis://localhost",
      "rediss://u:p%40ss@host:6380/2",
      "redis://[::1]:6379",
      "/run/redis.sock",
    ];
    for (const redis of urls) await createRedisSse({ redis }).close();
  });
});

/** Settings as data: the history policy is replaced by the bounds of any channel. */
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
