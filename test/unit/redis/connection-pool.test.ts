import { getEventListeners } from "node:events";
import { inspect } from "node:util";

import { expect } from "chai";
import RedisMock from "ioredis-mock";
import { stub, type SinonStub } from "sinon";

import type { ConnectionRole, RedisClient } from "../../../lib/redis/client.js";
import { ConnectionPool, type Lease, type PoolOptions } from "../../../lib/redis/connection-pool.js";
import { createConnectionFactory } from "../../../lib/redis/connection-factory.js";
import { deferred, settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { recordingLog } from "../../support/recording-logger.js";
import { expectFault, faultOf } from "../../support/service.js";

const OPTIONS: PoolOptions = {
  maxConnections: 2,
  acquireTimeoutMs: 1_000,
  maxWaiting: 2,
  pingMs: 10_000,
  leaseAlarmMs: 60_000,
};

describe("ConnectionPool", () => {
  let clock: FakeClock;
  let made: FakeClient[];
  let connect: (client: FakeClient) => Promise<void>;
  let pool: ConnectionPool;
  let said: ReturnType<typeof recordingLog>;

  beforeEach(() => {
    clock = new FakeClock();
    said = recordingLog(clock);
    made = [];
    connect = () => Promise.resolve();
    pool = new ConnectionPool(
      (role) => {
        const client = new FakeClient(role, () => connect(client));
        made.push(client);
        return client as unknown as RedisClient;
      },
      OPTIONS,
      clock,
      said.log,
    );
  });

  afterEach(async () => {
    await pool.close();
    expect(pool.statistics).to.deep.include({
      inUse: 0,
      waiting: 0,
      connections: { command: 0, subscriber: 0, lease: 0 },
      leases: [],
    });
    expect(clock.pending, "timers left").to.equal(0);
    for (const client of made) expect(client.disconnect.called, `${client.role} is ended`).to.equal(true);
  });

  describe("commands and subscriber", () => {
    it("creates one connection for each role when it is first needed", () => {
      expect(made).to.have.length(0);
      expect(pool.statistics.connections).to.deep.equal({ command: 0, subscriber: 0, lease: 0 });
      expect(pool.commands).to.equal(pool.commands);
      expect(made.map(({ role }) => role)).to.deep.equal(["command"]);
      expect(pool.subscriber).to.equal(pool.subscriber);
      expect(made.map(({ role }) => role)).to.deep.equal(["command", "subscriber"]);
      expect(pool.statistics.connections).to.deep.equal({ command: 1, subscriber: 1, lease: 0 });
      expect(pool.statistics.inUse, "shared connections are not leases").to.equal(0);
    });

    it("rejects a connection to a single node of a cluster and warns once", async () => {
      const client = pool.commands;
      const [, onReady] = made[0]!.on.args.find(([event]) => event === "ready") as [string, () => void];
      Object.assign(client, {
        info: () => Promise.resolve(""),
        cluster: () => Promise.resolve("cluster_size:3\r\n"),
      });
      for (let time = 0; time < 2; time++) {
        onReady();
        await settle();
      }
      expect(() => pool.commands)
        .to.throw("one node of a Redis Cluster")
        .with.property("code", "CONFIG");
      expect(said.lines).to.have.length(1);
      expect(said.lines[0]).to.match(/^warn .*Pass an ioredis Cluster client/);
    });

    it("reports ready if the command connection is ready", () => {
      expect(pool.ready).to.equal(false);
      expect(pool.commands).to.equal(made[0]);
      expect(pool.ready).to.equal(true);
      made[0]!.status = "reconnecting";
      expect(pool.ready).to.equal(false);
    });
  });

  describe("lease()", () => {
    it("lists each lease with its holder and its age", async () => {
      await pool.lease({ holder: "session 1" });
      clock.advance(500);
      await pool.lease({ holder: "session 2" });
      clock.advance(20);
      expect(pool.statistics).to.deep.equal({
        maxConnections: 2,
        available: 0,
        inUse: 2,
        waiting: 0,
        connections: { command: 0, subscriber: 0, lease: 2 },
        leases: [
          { holder: "session 1", ageMs: 520, overdue: false },
          { holder: "session 2", ageMs: 20, overdue: false },
        ],
        overdue: 0,
      });
    });

    it("marks a lease as overdue after leaseAlarmMs and logs it once", async () => {
      const lease = await pool.lease({ holder: "session\n1" });
      await pool.lease({ holder: "session 2" });
      clock.advance(OPTIONS.leaseAlarmMs - 1);
      expect(pool.statistics.overdue).to.equal(0);
      clock.advance(1);
      expect(pool.statistics.overdue).to.equal(2);
      expect(pool.statistics.leases[0]).to.have.property("overdue", true);
      clock.advance(10 * OPTIONS.leaseAlarmMs);
      const lines = said.lines.filter((line) => line.includes("overdue"));
      expect(lines, "at most one a minute").to.have.length(1);
      expect(lines[0]).to.include('"session\\n1" is overdue: it has been held for 60000 ms');
      lease.release();
      expect(pool.statistics.overdue).to.equal(1);
      (await pool.lease({ holder: "session 3" })).release();
      clock.advance(10 * OPTIONS.leaseAlarmMs);
      expect(
        said.lines.filter((line) => line.includes("session 3")),
        "released in time",
      ).to.deep.equal([]);
    });

    it("makes at most maxConnections, rejects after acquireTimeoutMs, and rejects at once beyond maxWaiting", async () => {
      await leaseAll();
      const faults = [1, 2].map(() => faultOf(pool.lease({ holder: "waits" })));
      await settle();
      expect(pool.statistics.waiting).to.equal(2);
      expectFault(await faultOf(pool.lease({ holder: "one too many" })), "POOL_EXHAUSTED");
      clock.advance(OPTIONS.acquireTimeoutMs);
      for (const fault of await Promise.all(faults))
        expect(String(fault)).to.match(/^PoolExhaustedError: Too many connections: all 2 .*1000 ms/);
      expect(made).to.have.length(2);
      expect(pool.statistics).to.include({ inUse: 2, waiting: 0 });
    });

    it("makes a new connection for a waiting caller and never reuses a released one", async () => {
      const [first] = await leaseAll();
      const waiting = pool.lease({ holder: "third" });
      await settle();
      first!.release();
      const third = await waiting;
      expect(third.client).not.to.equal(first!.client);
      expect(made).to.have.length(3);
      expect(pool.statistics).to.include({ inUse: 2, waiting: 0 });
    });

    it("frees its place only once if it is released several times", async () => {
      const [first, second] = await leaseAll();
      first!.release();
      first!.release();
      first!.release();
      expect(pool.statistics).to.include({ inUse: 1, available: 1 });
      expect(made[0]!.disconnect.callCount).to.equal(1);
      // Without destroy(), the socket of a frozen connection would stay open.
      expect(made[0]!.stream.destroy.callCount).to.equal(1);
      second!.release();
      expect(pool.statistics).to.include({ inUse: 0, available: 2 });
      await leaseAll();
      expect(pool.statistics.inUse).to.equal(2);
    });

    it("frees its place at once if the connection fails", async () => {
      connect = () =>
        Promise.reject(
          Object.assign(new Error("connect ECONNREFUSED redis.internal"), { code: "ECONNREFUSED" }),
        );
      const fault = await faultOf(pool.lease({ holder: "session" }));
      expect(fault).to.include({
        code: "REDIS_UNAVAILABLE",
        message: "Redis cannot be reached (ECONNREFUSED)",
      });
      expect(pool.statistics).to.deep.include({ inUse: 0, leases: [] });
      expect(made[0]!.disconnect.calledOnce).to.equal(true);
      connect = () => Promise.resolve();
      await leaseAll();
    });

    it("serves a waiting caller as soon as another connection attempt fails", async () => {
      await pool.lease({ holder: "first" });
      const connecting = deferred();
      connect = () => connecting.promise;
      const failing = faultOf(pool.lease({ holder: "second" }));
      const waiting = pool.lease({ holder: "third" });
      await settle();
      connect = () => Promise.resolve();
      connecting.reject(new Error("Connection is closed."));
      expectFault(await failing, "REDIS_UNAVAILABLE");
      expect((await waiting).holder).to.equal("third");
    });

    it("reports REDIS_UNAVAILABLE for an unknown error, without its text", async () => {
      connect = () => Promise.reject(new Error("something odd: secret"));
      const fault = await faultOf(pool.lease({ holder: "session" }));
      expectFault(fault, "REDIS_UNAVAILABLE");
      expect(inspect(fault)).not.to.contain("secret");
    });

    it("uses the client's error event as the reason if connect() rejects without one", async () => {
      connect = async () => {
        const [event, listener] = made[0]!.on.args.at(-1) as [string, (error: Error) => void];
        expect(event).to.equal("error");
        listener(new Error("WRONGPASS invalid username-password pair"));
        throw new Error("Connection is closed.");
      };
      expect(await faultOf(pool.lease({ holder: "session" }))).to.include({ code: "REDIS_AUTH" });
    });

    it("pings its connection until it is released", async () => {
      const lease = await pool.lease({ holder: "session" });
      made[0]!.ping.rejects(new Error("Connection is closed."));
      clock.advance(3 * OPTIONS.pingMs);
      expect(made[0]!.ping.callCount).to.equal(3);
      lease.release();
      clock.advance(3 * OPTIONS.pingMs);
      expect(made[0]!.ping.callCount).to.equal(3);
    });

    it("hides the connection's options from util.inspect()", async () => {
      const lease = await pool.lease({ holder: "session" });
      expect(inspect(lease, { depth: Infinity })).not.to.contain("FakeClient");
    });

    it("counts the time spent waiting and the time spent connecting toward acquireTimeoutMs", async () => {
      const [first] = await leaseAll();
      connect = () => new Promise(() => {});
      const fault = faultOf(pool.lease({ holder: "third" }));
      await settle();
      clock.advance(700);
      first!.release();
      await settle();
      clock.advance(299);
      await settle();
      expect(pool.statistics.inUse).to.equal(2);
      clock.advance(1);
      expectFault(await fault, "REDIS_UNAVAILABLE");
      expect(pool.statistics.inUse).to.equal(1);
      expect(made[2]!.disconnect.calledOnce).to.equal(true);
    });

    it("frees its place if the caller aborts while it connects, and drops the late connection", async () => {
      const connecting = deferred();
      connect = () => connecting.promise;
      const source = new AbortController();
      const fault = faultOf(pool.lease({ holder: "session", signal: source.signal }));
      await settle();
      source.abort();
      expectFault(await fault, "ABORTED");
      expect(pool.statistics).to.deep.include({ inUse: 0, leases: [] });
      expect(made[0]!.disconnect.calledOnce).to.equal(true);
      connecting.resolve();
      await settle();
      expect(pool.statistics.inUse).to.equal(0);
    });

    for (const [says, isFree, count] of [
      ["while it waits for a place", false, 2],
      ["in the same tick in which a place becomes free", true, 3],
    ] as const) {
      it(`holds no place for a caller that aborts ${says}`, async () => {
        const [first] = await leaseAll();
        const source = new AbortController();
        const fault = faultOf(pool.lease({ holder: "third", signal: source.signal }));
        await settle();
        if (isFree) first!.release();
        source.abort();
        expectFault(await fault, "ABORTED");
        first!.release();
        expect(pool.statistics).to.include({ inUse: 1, waiting: 0 });
        expect(made, "connections made").to.have.length(count);
      });
    }

    it("makes no connection if the signal is already aborted, and holds no place if the factory throws", async () => {
      const signal = AbortSignal.abort();
      expectFault(await faultOf(pool.lease({ holder: "session", signal })), "ABORTED");
      expect(made).to.have.length(0);
      const broken = new ConnectionPool(
        () => {
          throw new Error("secret");
        },
        OPTIONS,
        clock,
        recordingLog(clock).log,
      );
      const fault = await faultOf(broken.lease({ holder: "session" }));
      expectFault(fault, "INTERNAL");
      expect(inspect(fault)).not.to.contain("secret");
      expect(broken.statistics.inUse).to.equal(0);
    });

    it("leaves no listener on the caller's signal", async () => {
      const { signal } = new AbortController();
      await pool.lease({ holder: "session", signal });
      connect = () => Promise.reject(new Error("Connection is closed."));
      await faultOf(pool.lease({ holder: "session", signal }));
      expect(getEventListeners(signal, "abort")).to.have.length(0);
    });
  });

  describe("close()", () => {
    it("sends QUIT on the shared connections and disconnects the leased ones", async () => {
      expect([pool.commands, pool.subscriber]).to.deep.equal(made);
      const lease = await pool.lease({ holder: "session" });
      const closed = pool.close();
      expect(pool.close()).to.equal(closed);
      await closed;
      lease.release();
      expect(pool.statistics.inUse).to.equal(0);
      expect(made[2]!.disconnect.callCount).to.equal(1);
      expect(made.map(({ role, quit }) => [role, quit.callCount])).to.deep.equal([
        ["command", 1],
        ["subscriber", 1],
        ["lease", 0],
      ]);
    });

    it("rejects callers that wait and callers that connect", async () => {
      await pool.lease({ holder: "first" });
      connect = () => new Promise(() => {});
      const connecting = faultOf(pool.lease({ holder: "second" }));
      const waiting = faultOf(pool.lease({ holder: "third" }));
      await settle();
      await pool.close();
      for (const fault of [await connecting, await waiting])
        expect(fault).to.have.property("code").that.is.oneOf(["ABORTED", "CLOSED"]);
    });

    it("rejects every later call", async () => {
      await pool.close();
      for (const use of [
        async () => pool.commands,
        async () => pool.subscriber,
        () => pool.lease({ holder: "session" }),
        () => pool.incrementWithTtl("key"),
      ])
        expectFault(await faultOf(use()), "CLOSED");
      expect(made).to.have.length(0);
    });

    it("disconnects a connection that does not answer QUIT in time", async () => {
      expect(pool.commands).to.equal(made[0]);
      made[0]!.quit.returns(new Promise(() => {}));
      let over = false;
      const closed = pool.close().then(() => (over = true));
      await settle();
      expect(over).to.equal(false);
      clock.advance(1_000);
      await closed;
      expect(made[0]!.disconnect.calledOnce).to.equal(true);
    });

    it("sends no QUIT on a connection that is not ready, and never rejects", async () => {
      expect([pool.commands, pool.subscriber]).to.deep.equal(made);
      made[0]!.status = "reconnecting";
      made[1]!.quit.rejects(new Error("Connection is closed."));
      await pool.close();
      expect(made[0]!.quit.called).to.equal(false);
      expect(made.every(({ disconnect }) => disconnect.calledOnce)).to.equal(true);
    });
  });

  describe("incrementWithTtl()", () => {
    it("rejects a key that is not a string and a ttlSeconds that is not a positive integer", async () => {
      for (const key of ["", undefined, null, 5, ["a", "b"]]) {
        expectFault(await faultOf(pool.incrementWithTtl(key as string)), "CONFIG");
        expect(made).to.have.length(0);
      }
      for (const ttl of [0, -1, 1.5, NaN, Infinity, "60", null]) {
        const fault = await faultOf(pool.incrementWithTtl("key", ttl as number));
        expectFault(fault, "CONFIG");
        expect((fault as Error).message).to.contain("ttlSeconds");
      }
    });

    it("reports a Redis error without its text", async () => {
      expect(pool.commands).to.equal(made[0]);
      const fault = await faultOf(pool.incrementWithTtl("key")); // This client has no scripts.
      expect(fault).to.include({ code: "INTERNAL", message: "an unexpected error" });
    });
  });

  function leaseAll(): Promise<Lease[]> {
    return Promise.all([pool.lease({ holder: "first" }), pool.lease({ holder: "second" })]);
  }
});

describe("ConnectionPool on ioredis-mock", () => {
  it("increments the count and sets its time to live on every call", async () => {
    const source = new RedisMock({ host: "connection-pool.test" });
    const pool = new ConnectionPool(
      createConnectionFactory(source, "test", { watch() {} }),
      OPTIONS,
      new FakeClock(),
      recordingLog().log,
    );
    expect(await pool.incrementWithTtl("count")).to.equal(1);
    expect(await source.ttl("count")).to.be.within(3_599, 3_600);
    expect(await pool.incrementWithTtl("count", 60)).to.equal(2);
    expect(await source.ttl("count")).to.be.within(59, 60);
    await pool.close();
    await source.quit();
  });
});

/** A client without a server. The test defines how it connects and disconnects. */
class FakeClient {
  readonly role: ConnectionRole;
  readonly #connect: () => Promise<void>;
  status = "ready";
  readonly disconnect: SinonStub = stub();
  readonly quit: SinonStub = stub().resolves("OK");
  readonly on: SinonStub = stub();
  readonly ping: SinonStub = stub().resolves("PONG");
  readonly stream: { readonly destroy: SinonStub } = { destroy: stub() };

  constructor(role: ConnectionRole, connect: () => Promise<void>) {
    this.role = role;
    this.#connect = connect;
  }

  connect(): Promise<void> {
    return this.#connect();
  }
}
