import { expect } from "chai";
import createDebug from "debug";
import { Cluster, Redis, type RedisOptions } from "ioredis";
import { restore, spy, stub } from "sinon";

import { ConfigError } from "../../../lib/errors.js";
import type { ConnectionRole, RedisClient } from "../../../lib/redis/client.js";
import { createConnectionFactory, type RedisSource } from "../../../lib/redis/connection-factory.js";

const ROLES = ["command", "subscriber", "lease"] as const;

/** What an app may have set for its own use, and what would each break a subscription or a promise of ours. */
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
  let made: RedisClient[];

  beforeEach(() => {
    made = [];
  });

  afterEach(() => {
    for (const client of made) client.disconnect();
    restore();
  });

  for (const role of ROLES) {
    describe(`a connection for the role "${role}"`, () => {
      it("keeps where the app's client connects to, and as whom", () => {
        expect(optionsOf(make(APP_OPTIONS, role))).to.include({
          host: "redis.internal",
          port: 6380,
          username: "app",
          password: "secret",
          db: 3,
        });
      });

      const sources: Readonly<Record<string, () => RedisSource>> = {
        options: () => APP_OPTIONS,
        "an app's own client": () => track(new Redis(APP_OPTIONS)),
        "a URL": () => "redis://app:secret@redis.internal:6380/3",
        "a URL with options": () =>
          "redis://redis.internal/3?keyPrefix=app:&keepAlive=7&socketTimeout=1&stringNumbers=1",
      };
      for (const [what, source] of Object.entries(sources)) {
        it(`made of ${what} has the options that our promises rest on`, () => {
          expect(optionsOf(make(source(), role))).to.include({
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

      it("sends nothing before it is told to", () => {
        expect(make(APP_OPTIONS, role).status).to.equal("wait");
      });

      it("says a fault of its connection by code, and nothing of the error", () => {
        const lines: unknown[][] = [];
        const enabledBefore = createDebug.disable();
        const logBefore = createDebug.log;
        createDebug.log = (...values: unknown[]) => lines.push(values);
        createDebug.enable("redis-sse:pool");
        try {
          const error = Object.assign(new Error("WRONGPASS invalid username-password pair"), {
            command: { args: ["AUTH", "app", "secret"] },
          });
          expect(make(APP_OPTIONS, role).emit("error", error)).to.equal(true);
        } finally {
          createDebug.enable(enabledBefore);
          createDebug.log = logBefore;
        }
        expect(lines).to.have.length(1);
        expect(lines.flat().join(" ")).to.contain(role).and.to.contain("Redis refused the credentials");
        expect(JSON.stringify(lines)).not.to.contain("secret");
      });
    });
  }

  it("gives commands a deadline and few retries", () => {
    expect(optionsOf(make(APP_OPTIONS, "command"))).to.include({
      commandTimeout: 5_000,
      maxRetriesPerRequest: 2,
    });
  });

  it("gives a SUBSCRIBE no deadline of the client's: it would take effect all the same", () => {
    const options = optionsOf(make(APP_OPTIONS, "subscriber"));
    expect(options.commandTimeout).to.equal(undefined);
    expect(options.maxRetriesPerRequest).to.equal(null);
  });

  it("lets a leased connection fail once, and never try again by itself", () => {
    const options = optionsOf(make(APP_OPTIONS, "lease"));
    expect(options.maxRetriesPerRequest).to.equal(0);
    expect(options.commandTimeout).to.equal(undefined);
    for (const times of [1, 2, 100]) expect(options.retryStrategy?.(times)).to.equal(null);
  });

  for (const role of ["command", "subscriber"] as const) {
    it(`brings the "${role}" connection back soon, after pauses that grow to a bound`, () => {
      stub(Math, "random").returns(0);
      const { retryStrategy } = optionsOf(make(APP_OPTIONS, role));
      const pauses = [1, 2, 3, 4, 5, 6, 100, 10_000].map((times) => retryStrategy?.(times));
      expect(pauses).to.deep.equal([50, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
    });

    it(`spreads the returns of many "${role}" connections`, () => {
      const { retryStrategy } = optionsOf(make(APP_OPTIONS, role));
      const pauses = Array.from({ length: 50 }, () => Number(retryStrategy?.(100)));
      for (const pause of pauses) expect(pause).to.be.within(1_000, 1_500);
      expect(new Set(pauses).size).to.be.greaterThan(10);
    });
  }

  describe("of an app's own client", () => {
    it("only duplicates it: nothing is sent on it, listened to or ended", () => {
      const source = track(new Redis(APP_OPTIONS));
      const before = eventsOf(source);
      const calls = (["connect", "disconnect", "quit", "sendCommand"] as const).map((method) =>
        spy(source, method),
      );
      const create = createConnectionFactory(source, "web-1");
      expect(eventsOf(source)).to.deep.equal(before);
      for (const role of ROLES) {
        const client = track(create(role));
        expect(client).not.to.equal(source);
        client.disconnect();
      }
      expect(eventsOf(source)).to.deep.equal(before);
      expect(calls.map(({ callCount }) => callCount)).to.deep.equal([0, 0, 0, 0]);
      expect(source.status).to.equal("wait");
      expect(source.options).to.include({ keyPrefix: "app:", connectionName: "app", commandTimeout: 1 });
    });

    it("makes a new connection each time", () => {
      const create = createConnectionFactory(track(new Redis(APP_OPTIONS)), "web-1");
      expect(track(create("lease"))).not.to.equal(track(create("lease")));
    });
  });

  it("leaves the options it is given as they are", () => {
    const given = Object.freeze({ ...APP_OPTIONS });
    make(given, "lease");
    expect(given).to.deep.equal(APP_OPTIONS);
  });

  describe("of an app's cluster", () => {
    /** What an app may have set for its own use, at each level. */
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

    it("duplicates it for commands, with its credentials and our options at each level", () => {
      const source = appsCluster();
      const before = structuredClone(source.options.redisOptions);
      const client = make(source, "command") as Cluster;
      expect(client).not.to.equal(source);
      expect(client.isCluster).to.equal(true);
      expect(client.status).to.equal("wait");
      expect(client.options).to.include({
        lazyConnect: true,
        keyPrefix: "",
        scaleReads: "master",
        enableOfflineQueue: true,
        enableAutoPipelining: false,
        maxRedirections: 1_000,
      });
      expect(client.options.redisOptions).to.include({
        password: "secret",
        keyPrefix: "",
        autoResubscribe: false,
        enableAutoPipelining: false,
        commandTimeout: 5_000,
      });
      expect(client.options.clusterRetryStrategy?.(1)).to.be.a("number");
      expect(source.options.redisOptions).to.deep.equal(before);
      expect(source.options).to.include({ keyPrefix: "app:", scaleReads: "slave", maxRedirections: 1 });
    });

    it("takes what the app said of one node alone, and leaves it behind with that node", () => {
      const source = track(
        new Cluster(["redis://u:p@a:7000", "redis://b:7001"], {
          lazyConnect: true,
          redisOptions: { password: "common" },
        }),
      );
      const client = make(source, "subscriber") as Redis;
      const seen = new Map<string | undefined, unknown>();
      for (let times = 1; times <= 2; times++) {
        const { host, username, password } = client.options;
        seen.set(host, [username ?? null, password]);
        client.options.retryStrategy!(times);
      }
      expect(seen.get("a")).to.deep.equal(["u", "p"]);
      expect(seen.get("b")).to.deep.equal([null, "common"]);
    });

    for (const role of ["subscriber", "lease"] as const) {
      it(`connects to one node after the other for the role "${role}"`, () => {
        const client = make(appsCluster(), role) as Redis;
        expect(client).to.be.instanceOf(Redis);
        expect(client.options).to.include({ password: "secret", keyPrefix: "", autoResubscribe: false });
        const seen: string[] = [];
        for (let times = 1; times <= 3; times++) {
          seen.push(`${client.options.host}:${client.options.port}`);
          const pauseMs = client.options.retryStrategy!(times);
          if (role === "lease") expect(pauseMs).to.equal(null);
          else expect(pauseMs).to.be.a("number");
        }
        expect(seen.toSorted()).to.deep.equal([
          "localhost:7002",
          "other.internal:7001",
          "redis.internal:7000",
        ]);
      });
    }
  });

  describe("without a source", () => {
    let urlBefore: string | undefined;

    beforeEach(() => {
      urlBefore = process.env["REDIS_URL"];
    });

    afterEach(() => {
      if (urlBefore === undefined) delete process.env["REDIS_URL"];
      else process.env["REDIS_URL"] = urlBefore;
    });

    it("connects to REDIS_URL", () => {
      process.env["REDIS_URL"] = "redis://from.environment:7777";
      expect(optionsOf(make(undefined, "command"))).to.include({ host: "from.environment", port: 7777 });
    });

    it("connects to this machine where there is no REDIS_URL", () => {
      delete process.env["REDIS_URL"];
      expect(optionsOf(make(undefined, "command"))).to.include({ host: "127.0.0.1", port: 6379 });
    });

    it("refuses a REDIS_URL that is none, and repeats nothing of it", () => {
      process.env["REDIS_URL"] = "redis://u:secret@[bad";
      expect(() => createConnectionFactory(undefined, "web-1"))
        .to.throw(ConfigError)
        .that.satisfies((error: Error) => !error.message.includes("secret"));
    });
  });

  it("takes a Unix socket and TLS", () => {
    expect(optionsOf(make("/run/redis.sock", "command"))).to.include({ path: "/run/redis.sock" });
    expect(optionsOf(make("rediss://redis.internal", "command")).tls).not.to.equal(undefined);
  });

  for (const source of [null, 5, true, Symbol("redis"), () => {}]) {
    it(`refuses ${String(source)} as a source`, () => {
      expect(() => createConnectionFactory(source as unknown as RedisSource, "web-1")).to.throw(
        ConfigError,
        /redis/,
      );
    });
  }

  function make(source: RedisSource | undefined, role: ConnectionRole): RedisClient {
    return track(createConnectionFactory(source, "web-1")(role));
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
