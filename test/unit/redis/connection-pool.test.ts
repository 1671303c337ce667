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

  describe("the shared connections", () => {
    it("are made when they are first needed, once, each for its role", () => {
      expect(made).to.have.length(0);
      expect(pool.statistics.connections).to.deep.equal({ command: 0, subscriber: 0, lease: 0 });
      expect(pool.commands).to.equal(pool.commands);
      expect(made.map(({ role }) => role)).to.deep.equal(["command"]);
      expect(pool.subscriber).to.equal(pool.subscriber);
      expect(made.map(({ role }) => role)).to.deep.equal(["command", "subscriber"]);
      expect(pool.statistics.connections).to.deep.equal({ command: 1, subscriber: 1, lease: 0 });
      expect(pool.statistics.inUse, "they are no leases").to.equal(0);
    });

    it("that lead to one node of a cluster are refused, with one warning", async () => {
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
      expect(said.lines[0]).to.match(/^warn .*pass an ioredis Cluster client/);
    });

    it("are ready when the one for commands is", () => {
      expect(pool.ready).to.equal(false);
      expect(pool.commands).to.equal(made[0]);
      expect(pool.ready).to.equal(true);
      made[0]!.status = "reconnecting";
      expect(pool.ready).to.equal(false);
    });
  });

  describe("lease()", () => {
    it("is listed with its holder and its age", async () => {
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

    it("is marked, and logged once, when it is held for longer than the alarm's time", async () => {
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
        "given back in time",
      ).to.deep.equal([]);
    });

    it("makes no more connections than there may be, refuses who has waited too long, and at once when too many wait", async () => {
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

    it("makes a new connection for who waited, and never hands one on", async () => {
      const [first] = await leaseAll();
      const waiting = pool.lease({ holder: "third" });
      await settle();
      first!.release();
      const third = await waiting;
      expect(third.client).not.to.equal(first!.client);
      expect(made).to.have.length(3);
      expect(pool.statistics).to.include({ inUse: 2, waiting: 0 });
    });

    it("gives its place back once, however often it is released", async () => {
      const [first, second] = await leaseAll();
      first!.release();
      first!.release();
      first!.release();
      expect(pool.statistics).to.include({ inUse: 1, available: 1 });
      expect(made[0]!.disconnect.callCount).to.equal(1);
      // A frozen link would live on without this.
      expect(made[0]!.stream.destroy.callCount).to.equal(1);
      second!.release();
      expect(pool.statistics).to.include({ inUse: 0, available: 2 });
      await leaseAll();
      expect(pool.statistics.inUse).to.equal(2);
    });

    it("holds nothing when the connection fails, and the place is free at once", async () => {
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

    it("serves who waits as soon as another's connection has failed", async () => {
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

    for (const [error, code] of [
      [new Error("something odd: secret"), "REDIS_UNAVAILABLE"],
      [new Error("WRONGPASS invalid username-password pair secret"), "REDIS_AUTH"],
      [new Error("ERR max number of clients reached"), "REDIS_UNAVAILABLE"],
    ] as const) {
      it(`tells as ${code}, and without its text: ${error.message}`, async () => {
        connect = () => Promise.reject(error);
        const fault = await faultOf(pool.lease({ holder: "session" }));
        expectFault(fault, code);
        expect(inspect(fault)).not.to.contain("secret");
      });
    }

    it("tells why the connection was refused, where only its error event says so", async () => {
      connect = async () => {
        const [event, listener] = made[0]!.on.args.at(-1) as [string, (error: Error) => void];
        expect(event).to.equal("error");
        listener(new Error("WRONGPASS invalid username-password pair"));
        throw new Error("Connection is closed.");
      };
      expect(await faultOf(pool.lease({ holder: "session" }))).to.include({ code: "REDIS_AUTH" });
    });

    it("pings its connection, which may only read, until it is released", async () => {
      const lease = await pool.lease({ holder: "session" });
      made[0]!.ping.rejects(new Error("Connection is closed."));
      clock.advance(3 * OPTIONS.pingMs);
      expect(made[0]!.ping.callCount).to.equal(3);
      lease.release();
      clock.advance(3 * OPTIONS.pingMs);
      expect(made[0]!.ping.callCount).to.equal(3);
    });

    it("shows nothing of its connection's options when it is printed", async () => {
      const lease = await pool.lease({ holder: "session" });
      expect(inspect(lease, { depth: Infinity })).not.to.contain("FakeClient");
    });

    it("takes the time it waited for a place from the time it may connect", async () => {
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

    it("ends with who gives up while it connects, and drops what comes all the same", async () => {
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
      ["in the turn in which a place comes free", true, 3],
    ] as const) {
      it(`holds nothing for who gives up ${says}`, async () => {
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

    it("makes nothing for who gave up before asking, and holds nothing when no connection can be made", async () => {
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

    it("leaves no listener on the signal of who asked", async () => {
      const { signal } = new AbortController();
      await pool.lease({ holder: "session", signal });
      connect = () => Promise.reject(new Error("Connection is closed."));
      await faultOf(pool.lease({ holder: "session", signal }));
      expect(getEventListeners(signal, "abort")).to.have.length(0);
    });
  });

  describe("close()", () => {
    it("says goodbye on the shared connections, and drops the leased ones", async () => {
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

    it("refuses who waits, and who connects", async () => {
      await pool.lease({ holder: "first" });
      connect = () => new Promise(() => {});
      const connecting = faultOf(pool.lease({ holder: "second" }));
      const waiting = faultOf(pool.lease({ holder: "third" }));
      await settle();
      await pool.close();
      for (const fault of [await connecting, await waiting])
        expect(fault).to.have.property("code").that.is.oneOf(["ABORTED", "CLOSED"]);
    });

    it("refuses everything from then on", async () => {
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

    it("drops a connection whose goodbye is not answered in time", async () => {
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

    it("asks nothing of a connection that is not ready, and never rejects", async () => {
      expect([pool.commands, pool.subscriber]).to.deep.equal(made);
      made[0]!.status = "reconnecting";
      made[1]!.quit.rejects(new Error("Connection is closed."));
      await pool.close();
      expect(made[0]!.quit.called).to.equal(false);
      expect(made.every(({ disconnect }) => disconnect.calledOnce)).to.equal(true);
    });
  });

  describe("incrementWithTtl()", () => {
    it("refuses a key that is no text, and a time to live that is no whole number of seconds", async () => {
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

    it("tells a fault of Redis without its text", async () => {
      expect(pool.commands).to.equal(made[0]);
      const fault = await faultOf(pool.incrementWithTtl("key")); // this client knows no scripts
      expect(fault).to.include({ code: "INTERNAL", message: "an unexpected error" });
    });
  });

  function leaseAll(): Promise<Lease[]> {
    return Promise.all([pool.lease({ holder: "first" }), pool.lease({ holder: "second" })]);
  }
});

describe("ConnectionPool on ioredis-mock", () => {
  it("counts up, and sets the time to live with every count", async () => {
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

/** A connection without a server: tests say how it connects and ends. */
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
