import { expect } from "chai";
import { Redis } from "ioredis";
import { restore, stub } from "sinon";

import type { Lease, RedisSse, RedisSseOptions } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { FakeClock } from "../support/fake-clock.js";
import { describeFaults } from "../support/fault-rig.js";
import { createUser } from "../support/fault-steps.js";

/**
 * Two events in one tick can happen in any order. A test tries all orders: it delays one event by one more microtask each
 * time, until long after everything that waits has settled.
 */
const MICROTASKS = 60;

for (const subscriptions of ["shared", "dedicated"] as const) {
  const role = subscriptions === "shared" ? "subscriber" : "lease";

  describeFaults(`a session under races, ${subscriptions}`, (rig) => {
    afterEach(restore);

    const create = (options: RedisSseOptions = {}): RedisSse => rig.connect({ subscriptions, ...options });

    const MOMENTS = ["before it was live", "after"];

    it("closes with client-gone and holds nothing if the client leaves in the tick of the acknowledgement", async () => {
      await expectLeft(create({ history: false }), role, "subscribe", MOMENTS);
      // With history, the session then reads its position.
      await expectLeft(create(), role, "subscribe", MOMENTS.slice(0, 1));
    });

    it("closes with client-gone and holds nothing if the client leaves in the tick in which its position arrives", async () => {
      const service = create();
      // Loads the script that reads a history into Redis.
      const sink = rig.sink();
      const session = await service.open({}, sink, "warm");
      sink.leave();
      await session.closed;
      await expectLeft(service, "command", "evalsha", MOMENTS);
    });

    /** Lets clients leave 0, 1, 2, ... microtasks after a reply that their stream waits for. Checks when that was. */
    async function expectLeft(
      service: RedisSse,
      role: string,
      method: Method,
      moments: readonly string[],
    ): Promise<void> {
      const { closed: before } = (await service.status()).sessions;
      const seen = new Set<string>();
      for (let turns = 0; turns < MICROTASKS; turns++) {
        const sink = rig.sink();
        const unhook = onAnswer(role, method, turns, () => sink.leave());
        const session = await service.open({}, sink, `a:${turns}`);
        await session.closed;
        unhook();
        expect(session.closeReason, `after ${turns} microtasks`).to.equal("client-gone");
        expect(sink.events.map(({ event }) => event)).to.be.deep.oneOf([[], ["connected"]]);
        seen.add(sink.text === "" ? "before it was live" : "after");
      }
      // Otherwise the test has not covered the orders that matter.
      expect([...seen]).to.deep.equal(moments);
      const { closed } = (await service.status()).sessions;
      expect(closed).to.deep.equal({ "client-gone": (before["client-gone"] ?? 0) + MICROTASKS });
    }

    it("ends once if Redis refuses its channel in the tick in which the client leaves", async () => {
      const service = create({ redis: await createUser(rig) });
      const reasons: (string | null)[] = [];
      for (let turns = -1; turns < MICROTASKS; turns++) {
        const sink = rig.sink();
        const unhook =
          turns < 0
            ? onAsk(role, "subscribe", () => sink.leave())
            : onAnswer(role, "subscribe", turns, () => sink.leave());
        const session = await service.open({}, sink, "denied").catch((error: unknown) => {
          expect(error).to.have.property("code", "SUBSCRIBE_REFUSED");
          return null;
        });
        await session?.closed;
        unhook();
        const reason = session?.closeReason ?? "subscribe-failed";
        reasons.push(reason);
        expect(sink.answered === null, `after ${turns} microtasks`).to.equal(reason === "client-gone");
        expect(sink.text).to.equal("");
      }
      expect(reasons[0]).to.equal("client-gone");
      expect(reasons.at(-1)).to.equal("subscribe-failed");
      await eventually(async () => {
        const { sessions } = await service.status();
        const gone = reasons.filter((reason) => reason === "client-gone").length;
        expect(sessions.closed).to.deep.equal({
          "client-gone": gone,
          "subscribe-failed": reasons.length - gone,
        });
      });
    });

    it("writes no message in or after the tick of close()", async () => {
      const service = create();
      const sink = rig.sink();
      const clients: Redis[] = [];
      const unhook = onAsk(role, "subscribe", (_, client) => clients.push(client));
      const session = await service.open({}, sink, "a");
      unhook();
      // The first listener closes the session, so the message reaches a closing session.
      const client = clients[0]!;
      const close = (): void => {
        client.off("message", close);
        void session.close();
      };
      client.prependListener("message", close);
      for (let count = 0; count < 50; count++) void rig.server.admin.publish("a", `message ${count}`);
      await session.closed;
      await rig.server.admin.publish("a", "the last");
      expect(sink.events.map(({ event }) => event)).to.deep.equal(["connected", "closing"]);
      expect(session.statistics.messagesSent).to.equal(0);
    });
  });
}

describeFaults("a leased connection under races", (rig) => {
  afterEach(restore);

  const TIMEOUT_MS = 1_000;

  function create(clock: FakeClock, maxConnections = 1): RedisSse {
    return rig.connect({
      subscriptions: "dedicated",
      pool: { maxConnections, acquireTimeoutMs: TIMEOUT_MS },
      clock,
    });
  }

  it("is leased or refused, but never both, if it connects in the tick of its deadline", async () => {
    const clock = new FakeClock();
    const service = create(clock);
    const outcomes = new Set<string>();
    for (let turns = 0; turns < MICROTASKS; turns++) {
      const unhook = onAnswer("lease", "connect", turns, () => clock.advance(TIMEOUT_MS));
      const outcome: Lease | Error = await service.pool
        .lease({ holder: "test" })
        .catch((error: unknown) => error as Error);
      unhook();
      const what = `after ${turns} microtasks`;
      if (outcome instanceof Error) {
        expect(outcome, what).to.have.property("code", "REDIS_UNAVAILABLE");
        outcomes.add("refused");
      } else {
        expect(service.pool.statistics, what).to.deep.include({ inUse: 1, available: 0 });
        expect(await outcome.client.ping(), what).to.equal("PONG");
        outcome.release();
        outcomes.add("leased");
      }
      expect(service.pool.statistics, what).to.deep.include({ inUse: 0, waiting: 0, leases: [] });
      expect(clock.pending, what).to.equal(0);
      await eventually(async () => expect(await rig.server.connections(), what).to.deep.equal([]));
    }
    expect([...outcomes]).to.deep.equal(["refused", "leased"]);
  });

  it("is released if it connects in the tick in which its client leaves", async () => {
    const service = create(new FakeClock());
    const asked = new Set<boolean>();
    for (let turns = 0; turns < MICROTASKS; turns++) {
      const sink = rig.sink();
      let subscribing = false;
      const unhooks = [
        onAnswer("lease", "connect", turns, () => sink.leave()),
        onAsk("lease", "subscribe", () => (subscribing = true)),
      ];
      const session = await service.open({}, sink, "a");
      await session.closed;
      for (const unhook of unhooks) unhook();
      const what = `after ${turns} microtasks`;
      asked.add(subscribing);
      expect(session.closeReason, what).to.equal("client-gone");
      expect(sink.text, what).to.equal("");
      await eventually(() =>
        expect(service.pool.statistics, what).to.deep.include({ inUse: 0, waiting: 0, leases: [] }),
      );
    }
    expect([...asked], "whether SUBSCRIBE was sent before").to.deep.equal([false, true]);
  });
});

/** A method of the ioredis client. "evalsha" stands for every script of the library. */
type Method = "subscribe" | "connect" | "evalsha";

/** Calls `act` a number of microtasks after a connection of this role has got its reply or error. */
function onAnswer(role: string, method: Method, turns: number, act: () => void): () => void {
  return onAsk(role, method, (answer) => {
    const follow = async (): Promise<void> => {
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      act();
    };
    answer.then(follow, follow).catch(() => {});
  });
}

/** Calls back as soon as a connection of this role has sent the command. */
function onAsk(
  role: string,
  method: Method,
  onCall: (answer: Promise<unknown>, client: Redis) => void,
): () => void {
  // Scripts do not call the method `evalsha`.
  const called = method === "evalsha" ? "sendCommand" : method;
  const original = Redis.prototype[called] as (...args: unknown[]) => Promise<unknown>;
  const stubbed = stub(Redis.prototype, called as "connect").callsFake(function (
    this: Redis,
    ...args: unknown[]
  ) {
    const answer = original.apply(this, args);
    const isOurs = this.options.connectionName?.startsWith(`redis-sse:${role}:`);
    const isMeant = called === method || (args[0] as { readonly name: string }).name === method;
    if (isOurs && isMeant) onCall(answer, this);
    return answer as Promise<void>;
  });
  return () => stubbed.restore();
}
