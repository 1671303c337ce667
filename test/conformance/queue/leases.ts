import { expect } from "chai";

import { deferred, eventually } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import type { QueueRig, LostWorker, TaskWatcher } from "../../support/queue-rig.js";
import { expectFault, faultOf, untilIdle } from "../../support/service.js";

/** Tests leases, and what a worker can do after its lease has expired. */
export function describeLeases(rig: QueueRig): void {
  describe("lease", () => {
    const leftMs = async (id: string): Promise<number> =>
      Number(await rig.raw.eval(`return redis.call('ZSCORE', KEYS[1], ARGV[1])`, 1, rig.key("leases"), id)) -
      Date.now();

    it("is renewed while the handler runs, so that no other worker gets the task", async () => {
      await rig.queue.enqueue("kind", null, { id: "long" });
      const owner = await rig.takeAndVanish(30_000);
      let begun = 0;
      rig.queue.worker(() => void begun++, { pollMs: 10 });
      expect(await leftMs("long")).to.be.within(25_000, 32_000);
      await rig.raw.zadd(rig.key("leases"), Date.now() + 10_000, "long"); // as if 20 seconds had passed
      owner.clock.advance(10_000);
      await eventually(async () => expect(await leftMs("long")).to.be.within(25_000, 32_000));
      await untilIdle(rig.sse);
      expect(begun).to.equal(0);
      owner.end("whole");
      expect(await rig.until("long", "succeeded")).to.include({ result: "whole", attempt: 1 });
      expect(await rig.members("leases")).to.deep.equal([]);
    });

    it("is renewed for all tasks of a worker, also for more than fit in one script", async () => {
      const clock = new FakeClock();
      const service = await rig.service({ clock });
      const tasks = await rig.queue.enqueueMany(
        Array.from({ length: 450 }, (_, index) => ({ kind: "k", payload: index })),
      );
      const worker = service.queue(rig.name).worker(rig.hang, { concurrency: 1_000, leaseMs: 30_000 });
      await eventually(() => expect(worker.running).to.equal(450));
      const soon = Date.now() + 5_000;
      await rig.raw.zadd(rig.key("leases"), ...tasks.flatMap(({ id }) => [soon, id]));
      clock.advance(10_000);
      await eventually(async () => {
        const lowest = await rig.raw.eval(
          "return redis.call('ZCOUNT', KEYS[1], '-inf', ARGV[1])",
          1,
          rig.key("leases"),
          soon,
        );
        expect(Number(lowest)).to.equal(0);
      });
      expect(worker.running).to.equal(450);
    });

    it("gives the task to another worker as attempt 2 when it expires", async () => {
      await rig.queue.enqueue("kind", { pages: 2 }, { id: "lost" });
      const lost = await rig.takeAndVanish(1_000);
      expect(lost.context.attempt).to.equal(1);
      const taken = deferred<[number, unknown]>();
      rig.queue.worker(({ attempt, task }) => {
        taken.resolve([attempt, task.payload]);
        return "by the second";
      });
      // The worker knows the time of expiry, so it does not wait for its next poll.
      expect(await taken.promise).to.deep.equal([2, { pages: 2 }]);
      expect(await rig.until("lost", "succeeded")).to.include({ result: "by the second", attempt: 2 });
      expect((await rig.queue.counts()).totals).to.include({ lost: 1, retried: 0 });
    });

    it("fails the task if it expires during the last attempt", async () => {
      const options = { attempts: 2, deadLetterTtlMs: 60_000 };
      await rig.queue.enqueue("kind", null, { id: "hopeless" });
      const watcher = await rig.watch("hopeless");
      const first = await rig.takeAndVanish(30_000, options);
      await first.context.progress(25, "so far");
      await rig.expire("leases", "hopeless");
      const second = await rig.takeAndVanish(30_000, options);
      expect(second.context.attempt).to.equal(2);
      expect(second.context.task.progress).to.equal(25);
      await rig.expire("leases", "hopeless");
      let begun = 0;
      (await rig.elsewhere(options)).worker(() => void begun++);
      const failed = await rig.until("hopeless", "failed");
      expect(failed).to.include({ progress: 25, attempt: 2, result: null, message: "its worker was lost" });
      expect(failed.finishedAt).to.be.a("string");
      expect(await rig.raw.pttl(rig.taskKey("hopeless"))).to.be.within(1, 60_000);
      await watcher.end();
      expect(watcher.told.map(({ type, attempt, progress }) => [type, attempt, progress])).to.deep.equal([
        ["queued", 0, 0],
        ["started", 1, 0],
        ["progress", 1, 25],
        ["retry", 1, 25],
        ["started", 2, 25],
        ["failed", 2, 25],
      ]);
      expect(begun).to.equal(0);
      // A worker that had the task learns this when it reports.
      await second.context.progress(50);
      expect(second.context.signal.aborted).to.equal(true);
      expect(await rig.queue.get("hopeless")).to.include({ status: "failed", progress: 25 });
    });
  });

  describe("worker whose lease has expired", () => {
    /** Makes the lease of the first worker expire and lets a second worker run the task. */
    async function takeOver(): Promise<{ lost: LostWorker; watcher: TaskWatcher; release: () => void }> {
      await rig.queue.enqueue("kind", null, { id: "task" });
      const watcher = await rig.watch("task");
      const lost = await rig.takeAndVanish();
      await rig.expire("leases", "task");
      const release = deferred();
      const second = rig.queue.worker(
        async ({ progress, write }) => {
          await progress(10, "second");
          await write("by the second");
          await release.promise;
          return "by the second";
        },
        { pollMs: 10 },
      );
      await eventually(async () =>
        expect(await rig.queue.get("task")).to.include({ attempt: 2, message: "second" }),
      );
      expect(second.running).to.equal(1);
      return { lost, watcher, release: release.resolve };
    }

    /** Expects that only the second worker's reports and result were stored. */
    async function expectSecond(watcher: TaskWatcher, release: () => void): Promise<void> {
      expect(await rig.queue.get("task")).to.include({
        status: "running",
        attempt: 2,
        progress: 10,
        message: "second",
        result: null,
      });
      release();
      expect(await rig.until("task", "succeeded")).to.include({ result: "by the second", attempt: 2 });
      await watcher.end();
      expect(watcher.told.map(({ type, attempt, message }) => [type, attempt, message])).to.deep.equal([
        ["queued", 0, ""],
        ["started", 1, ""],
        ["retry", 1, "its worker was lost"],
        ["started", 2, ""],
        ["progress", 2, "second"],
        ["succeeded", 2, "done"],
      ]);
      expect(watcher.dataOf("chunk")).to.deep.equal(["by the second"]);
      expect(watcher.dataOf("log")).to.deep.equal([]);
      expect((await rig.queue.counts()).totals).to.include({ succeeded: 1, lost: 1 });
    }

    const refused = async (): Promise<number> => (await rig.queue.counts()).totals.refused;

    it("gets its late result rejected and counted", async () => {
      const { lost, watcher, release } = await takeOver();
      lost.end("by the first");
      await eventually(() => expect(lost.worker.running).to.equal(0));
      expect(await refused()).to.equal(1);
      await expectSecond(watcher, release);
    });

    it("gets its progress rejected and counted, and its signal aborts", async () => {
      const { lost, watcher, release } = await takeOver();
      expect(lost.context.signal.aborted).to.equal(false);
      await lost.context.progress(90, "first");
      expect(lost.context.signal.aborted).to.equal(true);
      expectFault(lost.context.signal.reason, "LEASE_LOST");
      expect(lost.worker.running).to.equal(0);
      expect(lost.queue.statistics).to.include({ lost: 1 });
      expect(await refused()).to.equal(1);
      await lost.context.progress(91, "again");
      lost.end("by the first");
      await expectSecond(watcher, release);
      expect(await refused()).to.equal(1);
    });

    it("gets its output rejected and counted, and write() rejects", async () => {
      const { lost, watcher, release } = await takeOver();
      expectFault(await faultOf(lost.context.write("by the first")), "ABORTED");
      expectFault(lost.context.signal.reason, "LEASE_LOST");
      expectFault(await faultOf(lost.context.log("again")), "ABORTED");
      expect(await refused()).to.equal(1);
      await expectSecond(watcher, release);
    });

    it("cannot renew the lease, and its signal aborts", async () => {
      const { lost, watcher, release } = await takeOver();
      lost.clock.advance(10_000);
      await eventually(() => expect(lost.context.signal.aborted).to.equal(true));
      expect(lost.worker.running).to.equal(0);
      await expectSecond(watcher, release);
    });

    it("does not give the task back when it stops", async () => {
      const { lost, watcher, release } = await takeOver();
      const stopped = lost.worker.stop({ graceMs: 0 });
      lost.clock.advance(0);
      await stopped;
      expect(lost.context.signal.aborted).to.equal(true);
      expect(await rig.members("ready")).to.deep.equal([]);
      await expectSecond(watcher, release);
    });

    it("gets its result rejected also while the task waits for the next worker", async () => {
      for (const id of ["a", "b"]) await rig.queue.enqueue("kind", null, { id });
      const late = deferred<unknown>();
      const service = await rig.service({ clock: new FakeClock() });
      const lost = service.queue(rig.name).worker(() => late.promise, { concurrency: 2 });
      await eventually(() => expect(lost.running).to.equal(2));
      await untilIdle(service); // The worker renews its leases when its subscription is acknowledged.
      await rig.expire("leases", "a", "b"); // long ago
      const second = rig.queue.worker(rig.hang);
      await eventually(() => expect(second.running).to.equal(1));
      const stopped = lost.stop({ graceMs: 1_000 });
      late.resolve("too late");
      await stopped;
      const tasks = await Promise.all(["a", "b"].map((id) => rig.queue.get(id)));
      expect(tasks.map((task) => `${task!.status}, attempt ${task!.attempt}`)).to.deep.equal([
        "running, attempt 2",
        "queued, attempt 1",
      ]);
      expect(tasks.map((task) => task!.result)).to.deep.equal([null, null]);
      expect(await refused()).to.equal(2);
    });

    it("gets its progress rejected if the task no longer exists", async () => {
      await rig.queue.enqueue("kind", null, { id: "gone" });
      const { context } = await rig.takeAndVanish();
      await rig.raw.del(rig.taskKey("gone"));
      await context.progress(50);
      expectFault(context.signal.reason, "LEASE_LOST");
      expect(await rig.raw.exists(rig.taskKey("gone"))).to.equal(0);
    });
  });
}
