import { expect } from "chai";

import type { Clock, RedisSseOptions } from "../../lib/index.js";
import { isFinished } from "../../lib/queue/task.js";
import { FakeClock } from "../support/fake-clock.js";
import { eventually } from "../support/eventually.js";
import { describeFaults } from "../support/fault-rig.js";

/** The longest delay of a Node timer, and of every option in milliseconds. Node runs a longer timer after 1 ms. */
const LONGEST = 2 ** 31 - 1;
const HOUR_MS = 3_600_000;
const YEAR_MS = 365 * 24 * HOUR_MS;

/** A clock that passes every delay to Node.js unchanged, and counts the timers. */
class CountingClock implements Clock {
  /** Timers that ran. */
  ran = 0;
  /** Timers that ran although they were set for hours. */
  early = 0;
  /** Delays that are invalid for a Node.js timer. */
  readonly impossible: number[] = [];

  now(): number {
    return Date.now();
  }

  monotonic(): number {
    return performance.now();
  }

  schedule(callback: () => void, delayMs: number): () => void {
    if (!(delayMs >= 0 && delayMs <= LONGEST)) this.impossible.push(delayMs);
    const timer = setTimeout(() => {
      this.ran++;
      if (delayMs >= HOUR_MS) this.early++;
      callback();
    }, delayMs);
    return () => clearTimeout(timer);
  }
}

/** Options with one value for every duration. */
const optionsAt = (ms: number): RedisSseOptions => ({
  pool: { acquireTimeoutMs: ms, leaseAlarmMs: ms },
  history: { maxAgeMs: YEAR_MS, checkMs: ms },
  heartbeatMs: ms,
  retryMs: ms,
  limits: {
    maxStallMs: ms,
    peerTimeoutMs: ms,
    maxLifetimeMs: ms,
    subscribeTimeoutMs: ms,
    closeTimeoutMs: ms,
  },
});

describeFaults("a service with the smallest and largest values of options in milliseconds", (rig) => {
  it("sends PINGs to Redis even if heartbeats to clients are off", async () => {
    const clock = new FakeClock();
    const { service, openLive } = await rig.start({ heartbeatMs: false, clock });
    const client = await openLive("a");
    const pings = await rig.server.callsOf("ping");
    await eventually(async () => {
      clock.advance(1_000);
      expect(await rig.server.callsOf("ping")).to.be.greaterThan(pings);
    });
    expect(client.comments).to.deep.equal([]);
    await service.close();
  });

  for (const subscriptions of ["shared", "dedicated"] as const) {
    it(`${subscriptions}: runs streams and tasks, and no timer early, at the largest values`, async () => {
      const clock = new CountingClock();
      const { service, openLive } = await rig.start({ ...optionsAt(LONGEST), subscriptions, clock });
      const client = await openLive("a");
      const queue = service.queue("q", { timeoutMs: LONGEST });
      const worker = queue.worker(({ task }) => task.payload, { leaseMs: 24 * HOUR_MS });
      // A timeout above the allowed maximum, stored by another program. The task fails before its handler starts.
      await queue.enqueue("kind", 0, { id: "stored", delayMs: YEAR_MS });
      await rig.server.admin.hset("sse:task:{tasks}:stored", "more", "1", "options", '{"timeoutMs":1e12}');
      await rig.server.admin.zadd("sse:queue:{tasks}:q:delayed", 1, "stored");
      await queue.enqueue("kind", 1, { id: "own" });
      for (const [id, status] of Object.entries({ stored: "failed", own: "succeeded" })) {
        const task = await eventually(async () => {
          const found = await queue.get(id);
          expect(found !== null && isFinished(found.status)).to.equal(true);
          return found!;
        }, 15_000);
        expect(task).to.include({ status, attempt: 1 });
      }
      await worker.stop({ graceMs: LONGEST });
      const reads = (await service.status()).history.reads;
      const pings = await rig.server.callsOf("ping");
      for (let number = 0; number < 100; number++) {
        await service.publish("a", { data: String(number) });
        await client.next(({ data }) => data === String(number));
      }
      expect((await service.status()).history.reads, "reads of the log").to.equal(reads);
      expect(await rig.server.callsOf("ping"), "PINGs").to.equal(pings);
      expect(clock).to.deep.include({ early: 0, impossible: [] });
      expect((await service.status()).sessions).to.deep.include({ open: 1, closed: {} });
    });

    it(`${subscriptions}: answers every stream, and runs no timer more than once per millisecond, at the smallest values`, async () => {
      const each: readonly RedisSseOptions[] = [
        { pool: { acquireTimeoutMs: 1 } },
        { pool: { leaseAlarmMs: 1 } },
        { history: { maxAgeMs: 1 } },
        { history: { checkMs: 100 } },
        { heartbeatMs: 1 },
        { retryMs: 1 },
        { limits: { maxStallMs: 1 } },
        { limits: { peerTimeoutMs: 1_000 } },
        { limits: { maxLifetimeMs: 1 } },
        { limits: { subscribeTimeoutMs: 1 } },
        { limits: { closeTimeoutMs: 1 } },
      ];
      for (const options of each) {
        const clock = new CountingClock();
        const startedAt = performance.now();
        const app = await rig.start({ ...options, subscriptions, clock });
        const client = await app.open("a");
        expect(client.status, JSON.stringify(options)).to.equal(200);
        await client.next(({ event }) => event === "connected" || event === "error");
        for (let number = 0; number < 20; number++) await app.service.publish("a", { data: number });
        const elapsedMs = performance.now() - startedAt;
        // These are the ticks of a session, the PINGs of each connection and the timers of single commands.
        expect(clock.ran, JSON.stringify(options)).to.be.lessThan(100 + 5 * elapsedMs);
        expect(clock.impossible, JSON.stringify(options)).to.deep.equal([]);
        app.leave();
        await app.close();
      }
    });
  }
});
