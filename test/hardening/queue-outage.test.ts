import { expect } from "chai";
import { stub } from "sinon";

import type { QueueService } from "../../lib/index.js";
import { deferred, eventually } from "../support/eventually.js";
import { describeQueueFaults, enqueueAll, idsOf, until } from "../support/queue-fault-rig.js";

describeQueueFaults(
  "a worker whose Redis is away",
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

    it("stores once what ended meanwhile: the server is frozen for longer than a command waits", async () => {
      const queue = rig.connect().queue("frozen");
      queue.worker(({ task }) => over.promise.then(() => task.id), { concurrency: 30, leaseMs: 60_000 });
      const ids = await begin(queue, 30);
      rig.server.signal("SIGSTOP");
      over.resolve();
      // A command of its own is given up by its deadline: those of the outcomes were as well.
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

    it("tells of it: to onFault, or on the console, once for all workers of a queue", async () => {
      const warn = stub(console, "warn");
      try {
        const sse = rig.connect();
        const queue = sse.queue("told");
        const told: string[] = [];
        for (let index = 0; index < 3; index++) queue.worker(() => {}, { pollMs: 50 });
        sse.queue("told-too").worker(() => {}, { pollMs: 50, onFault: ({ code }) => told.push(code) });
        await queue.enqueue("kind", null, { id: "before" });
        await until(queue, "before", "succeeded", 20_000);
        await rig.server.kill();
        await eventually(() => expect(told).to.include("REDIS_UNAVAILABLE"), 20_000);
        await eventually(() => expect(warn.callCount).to.be.at.least(1), 20_000);
        expect(queue.statistics.faults).to.have.property("REDIS_UNAVAILABLE");
        const texts = warn.getCalls().map(({ args }) => args.join(" "));
        expect(new Set(texts).size, "each once").to.equal(texts.length);
        await rig.server.boot();
        await queue.enqueue("kind", null, { id: "after" });
        await until(queue, "after", "succeeded", 20_000);
      } finally {
        warn.restore();
      }
    });

    it("goes on with a server that has come back empty, and holds nothing of what was lost", async () => {
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
      // Half of them hear of it by their renewal, whoever ends before by the outcome that nobody takes.
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
      ["dead", () => rig.server.kill()],
    ] as const) {
      it(`stop() and close() keep their deadlines while it is ${what}`, async () => {
        const sse = rig.connect();
        const queue = sse.queue("stop");
        const worker = queue.worker(() => over.promise, { concurrency: 10, leaseMs: 60_000 });
        await begin(queue, 9);
        await away();
        // Grace, then the second that giving back may take.
        await within(3_000, worker.stop({ graceMs: 200 }));
        expect(queue.statistics, "nobody has refused them").to.include({ workers: 0, refused: 0 });
        // Its second, and what is left of the connections' own ends.
        await within(6_000, sse.close());
        expect(queue.statistics).to.include({ refused: 0, succeeded: 0 });
      });
    }
  },
  { timeoutMs: 60_000 },
);

/** The promise settles in time, which is shorter by far than any lease. */
async function within(timeoutMs: number, promise: Promise<unknown>): Promise<void> {
  let isSettled = false;
  void promise.then(() => (isSettled = true));
  await eventually(() => expect(isSettled).to.equal(true), timeoutMs);
}
