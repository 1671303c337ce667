import { setTimeout as pause } from "node:timers/promises";

import { expect } from "chai";

import type { QueueService, Task } from "../../lib/index.js";
import { eventually, repeat } from "../support/eventually.js";
import { QueueWorkerProcess, type QueueWorkerOptions } from "../support/queue-processes.js";
import { describeQueueFaults } from "../support/queue-fault-rig.js";

const TASKS = 20_000;
const LEASE_MS = 1_000;
const LEASES = "sse:queue:{tasks}:crashes:leases";
const CRASHES = 3;

async function readSucceeded(queue: QueueService): Promise<Map<string, Task>> {
  const all = new Map<string, Task>();
  for (let cursor: string | undefined; ;) {
    const { tasks, next } = await queue.list("succeeded", { limit: 1_000, cursor });
    for (const task of tasks) all.set(task.id, task);
    if (next === null) return all;
    cursor = next;
  }
}

describeQueueFaults(
  "tasks of workers that crash and freeze",
  (rig) => {
    async function start(options: Partial<QueueWorkerOptions> = {}): Promise<QueueWorkerProcess> {
      const worker = await QueueWorkerProcess.start({
        url: rig.server.url,
        queue: "crashes",
        workMs: 25,
        leaseMs: LEASE_MS,
        concurrency: 40,
        ...options,
      });
      rig.undo(() => worker.kill());
      return worker;
    }

    /** Resolves when all leases that were given or renewed before now have expired. */
    async function untilLeasesRanOut(): Promise<void> {
      const [seconds, microseconds] = await rig.server.admin.time();
      const latest = Number(seconds) * 1_000 + Math.ceil(Number(microseconds) / 1_000) + LEASE_MS;
      await eventually(async () => {
        const [, score] = await rig.server.admin.zrange(LEASES, "0", "0", "WITHSCORES");
        expect(Number(score ?? Infinity)).to.be.greaterThan(latest);
      }, 20_000);
    }

    it("succeed once each if one of four workers freezes for longer than its lease and two are killed", async () => {
      // A task may lose several workers, one after another.
      const queue = rig.connect().queue("crashes", { attempts: 10 });
      const untilSucceeded = (count: number): Promise<unknown> =>
        eventually(async () => expect((await queue.counts()).totals.succeeded).to.be.at.least(count), 60_000);
      const ids = new Set<string>();
      while (ids.size < TASKS) {
        const entries = Array.from({ length: 1_000 }, (_, index) => ({ kind: "work", payload: index }));
        for (const { id } of await queue.enqueueMany(entries)) ids.add(id);
      }
      // The handlers of the first worker are busy nearly all the time.
      const workers = await Promise.all([start({ workMs: 300 }), start(), start(), start()]);
      const [zombie, first, second] = workers;
      zombie.signal("SIGSTOP");
      await untilLeasesRanOut();
      const { totals: before } = await queue.counts();
      expect(before.lost, "tasks of the zombie that others have").to.be.greaterThan(0);
      expect(before.succeeded, "there is work left when it comes back").to.be.lessThan(TASKS - 1_000);
      zombie.signal("SIGCONT");
      await untilSucceeded(before.succeeded + 500);
      await first.kill();
      await untilSucceeded(before.succeeded + 1_000);
      await second.kill();
      await untilSucceeded(TASKS);

      const { totals, ...counts } = await queue.counts();
      expect(counts).to.include({ queued: 0, delayed: 0, running: 0, succeeded: TASKS, failed: 0 });
      expect(totals).to.include({ enqueued: TASKS, succeeded: TASKS, failed: 0, cancelled: 0, retried: 0 });
      expect(totals.lost, "tasks of the killed as well").to.be.greaterThan(before.lost);
      expect(totals.refused, "late outcomes of the zombie").to.be.greaterThan(0);
      const tasks = await readSucceeded(queue);
      expect(new Set(tasks.keys())).to.deep.equal(ids);
      let repeated = 0;
      for (const { id, attempt, result } of tasks.values()) {
        expect(result, `the outcome of ${id} is its last attempt's`).to.have.property("attempt", attempt);
        repeated += attempt - 1;
      }
      expect(repeated, "every attempt beyond the first follows a lease that ran out").to.equal(totals.lost);
      const reports = await Promise.all(
        workers.filter(({ running }) => running).map((worker) => worker.end()),
      );
      expect(reports.reduce((sum, { refused }) => sum + refused, 0)).to.equal(totals.refused);
    });
  },
  { timeoutMs: 90_000 },
);

describeQueueFaults(
  "tasks in a Redis that crashes with appendfsync always",
  (rig) => {
    it("all complete once if acknowledged, and keep each completion that was seen before a crash", async () => {
      const connect = (): QueueService => rig.connect().queue("crash", { attempts: 20, progressMs: 0 });
      const producer = connect();
      const reader = connect();
      const consumers = [connect(), connect()];
      for (const consumer of consumers) {
        consumer.worker(
          async ({ task, attempt, progress, write }) => {
            // Not awaited, because Redis may be down for a while.
            void progress(50, "half way");
            write("piece").catch(() => {});
            // Simulated work.
            await pause(2);
            return [task.id, attempt];
          },
          { concurrency: 10, leaseMs: 1_000, pollMs: 100 },
        );
      }
      const acknowledged = new Set<string>();
      const producing = Array.from({ length: 5 }, () =>
        repeat(async () => {
          await producer.enqueue("work", null).then(
            ({ id }) => acknowledged.add(id),
            // Not acknowledged: Redis was down for longer than the command timeout.
            () => {},
          );
        }),
      );

      const seen = new Map<string, Task>();
      for (let crash = 1; crash <= CRASHES; crash++) {
        const before = acknowledged.size;
        await eventually(async () => {
          expect(acknowledged.size).to.be.greaterThan(before + 200);
          expect((await reader.counts()).totals.succeeded).to.be.greaterThan(seen.size + 200);
        }, 20_000);
        for (const [id, task] of await readSucceeded(reader)) seen.set(id, task);
        // Tasks are enqueued, claimed and completed all the time.
        await rig.server.kill();
        await rig.server.boot();
      }
      await Promise.all(producing.map((one) => one.stop()));

      await eventually(async () => {
        const { queued, delayed, running } = await reader.counts();
        expect({ queued, delayed, running }).to.deep.equal({ queued: 0, delayed: 0, running: 0 });
      }, 30_000);
      const succeeded = await readSucceeded(reader);
      expect(seen.size, "completions seen before a crash").to.be.greaterThan(200 * CRASHES);
      for (const id of acknowledged)
        expect(succeeded.has(id), `${id} was acknowledged, and is done`).to.equal(true);
      for (const [id, task] of seen) expect(succeeded.get(id)).to.deep.equal(task);
      for (const { id, attempt, result } of succeeded.values()) expect(result).to.deep.equal([id, attempt]);
      const { totals, failed } = await reader.counts();
      expect(failed).to.equal(0);
      expect(totals.succeeded, "each is counted once").to.equal(succeeded.size);
      expect(totals.enqueued, "and enqueued once").to.equal(succeeded.size);
      const counted = consumers.reduce((sum, { statistics }) => sum + statistics.succeeded, 0);
      expect(counted, "the workers know of each").to.equal(succeeded.size);
    });
  },
  { server: ["--appendonly", "yes", "--appendfsync", "always"], timeoutMs: 90_000 },
);
