import { expect } from "chai";

import type { QueueService } from "../../lib/index.js";
import { deferred, eventually } from "../support/eventually.js";
import { describeQueueFaults, enqueueAll, idsOf, until } from "../support/queue-fault-rig.js";

describeQueueFaults(
  "a worker while Redis is unavailable",
  (rig) => {
    let over: ReturnType<typeof deferred<void>>;

    beforeEach(() => {
      over = deferred();
      rig.undo(over.resolve);
    });

    async function begin(queue: QueueService, count: number): Promise<string[]> {
      const ids = idsOf(count);
      await enqueueAll(queue, ids);
      await eventually(() => expect(queue.statistics.running).to.equal(count));
      return ids;
    }

    it("stores each outcome once if Redis is frozen for longer than the command timeout", async () => {
      const queue = rig.connect().queue("frozen");
      queue.worker(({ task }) => over.promise.then(() => task.id), { concurrency: 30, leaseMs: 60_000 });
      const ids = await begin(queue, 30);
      rig.server.signal("SIGSTOP");
      over.resolve();
      // Waits until this command times out. The commands for the outcomes have timed out too.
      await queue.counts().catch(() => {});
      rig.server.signal("SIGCONT");
      for (const id of ids) await until(queue, id, "succeeded", 20_000);
      await eventually(() =>
        expect(queue.statistics).to.include({ succeeded: 30, running: 0, refused: 0, lost: 0 }),
      );
      const { totals } = await queue.counts();
      expect(totals).to.include({ succeeded: 30, lost: 0, refused: 0 });
      for (const id of ids) expect(await queue.get(id)).to.include({ attempt: 1, result: id });
    });

    it("continues on a Redis that restarts empty, and holds no lost task", async () => {
      const queue = rig.connect().queue("empty");
      const reasons: unknown[] = [];
      queue.worker(
        async ({ task, signal, progress }) => {
          signal.addEventListener("abort", () => reasons.push((signal.reason as { code: string }).code));
          if (task.kind === "kind") await over.promise;
          await progress(50);
        },
        { concurrency: 20, leaseMs: 3_000, pollMs: 100 },
      );
      await begin(queue, 20);
      await rig.server.kill();
      await rig.server.boot();
      // Some attempts learn of the loss when their lease is renewed, the others when their outcome is refused.
      over.resolve();
      await queue.enqueue("after", null, { id: "after" });
      await until(queue, "after", "succeeded", 20_000);
      await eventually(() => expect(queue.statistics.running).to.equal(0));
      expect(queue.statistics.succeeded).to.equal(1);
      expect(queue.statistics.lost + queue.statistics.refused).to.equal(20);
      expect((await queue.counts()).totals).to.include({ enqueued: 1, succeeded: 1 });
    });

    for (const [what, away] of [
      ["frozen", async () => rig.server.signal("SIGSTOP")],
      ["down", () => rig.server.kill()],
    ] as const) {
      it(`stops and closes within the deadlines while Redis is ${what}`, async () => {
        const sse = rig.connect();
        const queue = sse.queue("stop");
        const worker = queue.worker(() => over.promise, { concurrency: 10, leaseMs: 60_000 });
        await begin(queue, 9);
        await away();
        // The grace period, then up to a second to return tasks to the queue.
        await within(3_000, worker.stop({ graceMs: 200 }));
        expect(queue.statistics, "nobody has refused them").to.include({ workers: 0, refused: 0 });
        // Up to a second for the queue, then the deadlines of the connections.
        await within(6_000, sse.close());
        expect(queue.statistics).to.include({ refused: 0, succeeded: 0 });
      });
    }
  },
  { timeoutMs: 60_000 },
);

/** Expects the promise to settle within `timeoutMs`, which is much shorter than any lease. */
async function within(timeoutMs: number, promise: Promise<unknown>): Promise<void> {
  let isSettled = false;
  void promise.then(() => (isSettled = true));
  await eventually(() => expect(isSettled).to.equal(true), timeoutMs);
}
