import { expect } from "chai";
import { Cluster, Redis, type RedisOptions } from "ioredis";
import { restore, spy, stub } from "sinon";

import { ConfigError } from "../../../lib/errors.js";
import type { ConnectionRole, RedisClient } from "../../../lib/redis/client.js";
import { createConnectionFactory, type RedisSource } from "../../../lib/redis/connection-factory.js";
import { ConnectionMonitor } from "../../../lib/redis/connection-monitor.js";
import { FakeClock } from "../../support/fake-clock.js";
import { recordingLog } from "../../support/recording-logger.js";

const ROLES = ["command", "subscriber", "lease"] as const;

/** Options that an app may have set for its own use. Each of them would break a guarantee of the library. */
const APP_OPTIONS = {
  host: "redis.internal",
  port: 6380,
  username: "app",
  password: "secret",
  db: 3,
  lazyConnect: true,
  keyPrefix: "app:",
  connectionName: "app",
  autoResubscribe: true,
  autoResendUnfulfilledCommands: false,
  enableOfflineQueue: false,
  enableReadyCheck: false,
  enableAutoPipelining: true,
  maxRetriesPerRequest: 20,
  commandTimeout: 1,
  socketTimeout: 1,
  connectTimeout: 60_000,
  disconnectTimeout: 60_000,
  keepAlive: 0,
  stringNumbers: true,
  readOnly: true,
  reconnectOnError: () => 2 as const,
  retryStrategy: () => 60_000,
} satisfies RedisOptions;

describe("createConnectionFactory()", () => {
  let said: ReturnType<typeof recordingLog>;
  let monitor: ConnectionMonitor;

  beforeEach(() => {
    const clock = new FakeClock();
    said = recordingLog(clock);
    monitor = new ConnectionMonitor(said.log, clock);
  });

  let made: RedisClient[];

  beforeEach(() => {
    made = [];
  });

  afterEach(() => {
    for (const client of made) client.disconnect();
    restore();
  });

  for (const role of ROLES) {
    describe(`role "${role}"`, () => {
      const sources: Readonly<Record<string, () => RedisSource>> = {
        options: () => APP_OPTIONS,
        "an app's own client": () => track(new Redis(APP_OPTIONS)),
        "a URL": () => "redis://app:secret@redis.internal:6380/3",
        "a URL with options": () =>
          "redis://redis.internal/3?keyPrefix=app:&keepAlive=7&socketTimeout=1&stringNumbers=1",
      };
      for (const [what, source] of Object.entries(sources)) {
        it(`sets all options that the library depends on for ${what}`, () => {
          const client = make(source(), role);
          expect(client.status, "sends nothing before connect()").to.equal("wait");
          expect(optionsOf(client)).to.include({ host: "redis.internal", db: 3 });
          expect(optionsOf(client)).to.include({
            connectionName: `redis-sse:${role}:web-1`,
            lazyConnect: true,
            keyPrefix: "",
            autoResubscribe: false,
            autoResendUnfulfilledCommands: true,
            enableOfflineQueue: true,
            enableReadyCheck: true,
            enableAutoPipelining: false,
            replyMapping: "legacy",
            connectTimeout: 5_000,
            socketTimeout: 5_000,
            sentinelCommandTimeout: 5_000,
            disconnectTimeout: 500,
            keepAlive: 10_000,
            readOnly: false,
            stringNumbers: false,
            reconnectOnError: null,
          });
        });
      }

      it("logs a connection error by its code, without credentials", () => {
        const error = Object.assign(new Error("WRONGPASS invalid username-password pair"), {
          command: { args: ["AUTH", "app", "secret"] },
        });
        expect(make(APP_OPTIONS, role).emit("error", error)).to.equal(true);
        expect(said.lines[0]).to.contain(role).and.to.contain("Redis refused the credentials (WRONGPASS)");
        expect(JSON.stringify(said.lines)).not.to.contain("secret");
      });
    });
  }

  it("sets a deadline and 2 retries for commands, neither for SUBSCRIBE, and one attempt for a lease", () => {
    for (const [role, commandTimeout, maxRetriesPerRequest] of [
      ["command", 5_000, 2],
      // A subscriber has no deadline: a SUBSCRIBE that timed out would still take effect later.
      ["subscriber", undefined, null],
      ["lease", undefined, 0],
    ] as const)
      expect(optionsOf(make(APP_OPTIONS, role)), role).to.include({ commandTimeout, maxRetriesPerRequest });
    const { retryStrategy } = optionsOf(make(APP_OPTIONS, "lease"));
    for (const times of [1, 2, 100]) expect(retryStrategy?.(times)).to.equal(null);
  });

  for (const role of ["command", "subscriber"] as const) {
    it(`reconnects the "${role}" connection after pauses that grow up to a limit`, () => {
      const random = stub(Math, "random").returns(0);
      const { retryStrategy } = optionsOf(make(APP_OPTIONS, role));
      const pauses = [1, 2, 3, 4, 5, 6, 100, 10_000].map((times) => retryStrategy?.(times));
      expect(pauses).to.deep.equal([50, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
      random.returns(0.999);
      expect(retryStrategy?.(100), "with jitter").to.equal(1_499);
    });
  }

  it("only duplicates the app's client and never sends on it, listens to it or ends it", () => {
    const source = track(new Redis(APP_OPTIONS));
    const before = eventsOf(source);
    const calls = (["connect", "disconnect", "quit", "sendCommand"] as const).map((method) =>
      spy(source, method),
    );
    const create = createConnectionFactory(source, "web-1", monitor);
    expect(eventsOf(source)).to.deep.equal(before);
    for (const role of ROLES) {
      const client = track(create(role));
      expect(client).not.to.equal(source);
      expect(client).not.to.equal(track(create(role)));
      client.disconnect();
    }
    expect(eventsOf(source)).to.deep.equal(before);
    expect(calls.map(({ callCount }) => callCount)).to.deep.equal([0, 0, 0, 0]);
    expect(source.status).to.equal("wait");
    expect(source.options).to.include({ keyPrefix: "app:", connectionName: "app", commandTimeout: 1 });
  });

  describe("with the app's Cluster client", () => {
    /** Options that an app may have set for its own use, at each level. */
    const appsCluster = (): Cluster =>
      track(
        new Cluster([{ host: "redis.internal", port: 7000 }, "redis://other.internal:7001", 7002], {
          lazyConnect: true,
          keyPrefix: "app:",
          scaleReads: "slave",
          enableOfflineQueue: false,
          enableAutoPipelining: true,
          maxRedirections: 1,
          redisOptions: {
            password: "secret",
            keyPrefix: "app:",
            commandTimeout: 1,
            enableAutoPipelining: true,
          },
        }),
      );

    it("duplicates it for commands with the app's credentials and the library's options at each level", () => {
      const source = appsCluster();
      const client = make(source, "command") as Cluster;
      expect(client).not.to.equal(source);
      expect(client.options).to.include({
        keyPrefix: "",
        scaleReads: "master",
        enableOfflineQueue: true,
        maxRedirections: 1_000,
      });
      const own = { password: "secret", keyPrefix: "", autoResubscribe: false, commandTimeout: 5_000 };
      expect(client.options.redisOptions).to.include({ ...own, enableAutoPipelining: false });
      expect(source.options).to.include({ keyPrefix: "app:", scaleReads: "slave", maxRedirections: 1 });
      expect(source.options.redisOptions).to.include({ keyPrefix: "app:", commandTimeout: 1 });
      expect(client.options.clusterRetryStrategy?.(1)).to.be.a("number");
    });

    it("tries one node after another for a subscriber, each with its own credentials", () => {
      const redisOptions = { password: "common" };
      const nodes = ["redis://u:p@a:7000", { host: "b", port: 7001 }, 7002];
      const source = track(new Cluster(nodes, { lazyConnect: true, redisOptions }));
      const client = make(source, "subscriber") as Redis;
      expect(client).to.be.instanceOf(Redis);
      const seen: unknown[] = [];
      for (let times = 1; times <= 3; times++) {
        const { host, port, username = null, password } = client.options;
        seen.push([host, port, username, password]);
        expect(client.options.retryStrategy!(times)).to.be.a("number");
      }
      expect(seen).to.have.deep.members([
        ["a", 7000, "u", "p"],
        ["b", 7001, null, "common"],
        ["localhost", 7002, null, "common"],
      ]);
      expect((make(source, "lease") as Redis).options.retryStrategy!(1), "a lease").to.equal(null);
    });
  });

  for (const [says, url, expected] of [
    ["to REDIS_URL", "redis://from.environment:7777", { host: "from.environment", port: 7777 }],
    ["to 127.0.0.1:6379 if REDIS_URL is empty", "", { host: "127.0.0.1", port: 6379 }],
  ] as const) {
    it(`connects ${says} if no source is given`, () => {
      stub(process, "env").value({ ...process.env, REDIS_URL: url });
      expect(optionsOf(make(undefined, "command"))).to.include(expected);
    });
  }

  it("accepts a Unix socket and TLS", () => {
    expect(optionsOf(make("/run/redis.sock", "command"))).to.include({ path: "/run/redis.sock" });
    expect(optionsOf(make("rediss://redis.internal", "command")).tls).not.to.equal(undefined);
  });

  it("rejects a source of another type and invalid parts of a source", () => {
    for (const source of [
      null,
      5,
      true,
      Symbol("redis"),
      () => {},
      { url: "redis://localhost" },
      { hots: "x" },
      // Like {}, these objects have no own enumerable keys.
      [],
      Promise.resolve("redis://h"),
      new URL("redis://h"),
      new Map([["host", "h"]]),
      { host: 5 },
      { sentinels: [] },
      { sentinels: [{ host: "h" }] },
      { port: 70_000 },
      { port: "a" },
      { db: -1 },
      { db: "mydb" },
      "redis://h:6379/mydb",
      "redis://h:6379/1/2x",
      "redis://h?db=x",
      "redis://h/mydb?db=1",
      "redis://h//2",
      "redis://h/1/2",
      "redis://h?port=x",
      track(new Redis("redis://h/mydb", { lazyConnect: true })),
      // A client of another package.
      { isOpen: true, sendCommand() {}, duplicate() {} },
    ])
      expect(() => createConnectionFactory(source as unknown as RedisSource, "web-1", monitor)).to.throw(
        ConfigError,
        /redis/,
      );
  });

  for (const name of ["host", "path"]) {
    it(`rejects a URL as ${name} and does not repeat its password`, () => {
      const source = { [name]: "redis://:hunter2@h:6379" };
      expect(() => createConnectionFactory(source, "web-1", monitor))
        .to.throw(ConfigError, `redis.${name}`)
        .with.property("message")
        .that.does.not.include("hunter2");
    });
  }

  it("accepts unknown options of newer ioredis versions and numbers as strings", () => {
    for (const source of [{}, { host: "h", newOption: 1 }, { port: "6379", db: "0" }, "redis://h:6379/2/"])
      expect(() => createConnectionFactory(source as RedisSource, "web-1", monitor)).not.to.throw();
  });

  it("names the environment variable if its value is invalid", () => {
    stub(process, "env").value({ ...process.env, REDIS_URL: "redis://h:6379/mydb" });
    expect(() => createConnectionFactory(undefined, "web-1", monitor)).to.throw(ConfigError, "REDIS_URL");
  });

  function make(source: RedisSource | undefined, role: ConnectionRole): RedisClient {
    return track(createConnectionFactory(source, "web-1", monitor)(role));
  }

  function track<Client extends RedisClient>(client: Client): Client {
    made.push(client);
    return client;
  }
});

function optionsOf(client: RedisClient): RedisOptions {
  return (client as Redis).options;
}

function eventsOf(client: Redis): readonly (readonly [string | symbol, number])[] {
  return client.eventNames().map((name) => [name, client.listenerCount(name)]);
}
