import { expect } from "chai";

import { QueueStore } from "../../../lib/queue/queue-store.js";
import { cancelTask } from "../../../lib/queue/scripts/cancel.js";
import { claimTasks, type ClaimReply } from "../../../lib/queue/scripts/claim.js";
import { purgeTasks, requeueTasks } from "../../../lib/queue/scripts/dead-letters.js";
import { enqueueTasks, fireSchedule } from "../../../lib/queue/scripts/enqueue.js";
import { reportTask } from "../../../lib/queue/scripts/report.js";
import { advanceSchedule, writeSchedule } from "../../../lib/queue/scripts/schedules.js";
import { settleTasks } from "../../../lib/queue/scripts/settle.js";
import type { Script } from "../../../lib/redis/script.js";
import type { QueueRig } from "../../support/queue-rig.js";

/** Tests that a command takes effect once if ioredis resends it because the reply was lost. */
export function describeResends(rig: QueueRig): void {
  describe("resent commands", () => {
    const run = <Result>(script: Script<Result>, ...args: (string | number)[]): Promise<Result> =>
      new QueueStore({
        name: rig.name,
        keyPrefix: "sse:",
        commands: () => rig.sse.pool.commands,
        newEpoch: () => "0000000a",
        keepEvents: 1_000,
        results: { maxCount: 100, maxBytes: 1e9, maxPayloadBytes: 1e6 },
      }).run(script, args);

    /** Claims at most two tasks, like one call of a worker. */
    const claim = (
      call: string,
      { attempts = 3, limit = ["", ""] }: { attempts?: number; limit?: readonly (string | number)[] } = {},
    ): Promise<ClaimReply> => run(claimTasks, 30_000, 2, call, attempts, 60_000, "lost", ...limit, "worker");

    const settle = (
      ...[id, token, verdict, progress, message, content, delayMs, ttlMs]: readonly (string | number)[]
    ): Promise<readonly boolean[]> =>
      run(settleTasks, [token, verdict, progress, delayMs, ttlMs, message].join("\n"), 1, id!, content!);

    async function enqueue(...ids: string[]): Promise<void> {
      for (const id of ids) await rig.queue.enqueue("kind", null, { id });
    }

    it("enqueue() adds its tasks once and returns the same reply", async () => {
      const args = [
        "",
        "call1:",
        "a",
        "kind",
        "1",
        "1\n0\n\n\n\n\n",
        "b",
        "kind",
        "2",
        "1\n0\n+60000\n\n\n\n",
      ];
      const first = await run(enqueueTasks, ...args);
      expect(await run(enqueueTasks, ...args)).to.deep.equal(first);
      expect(first).to.deep.include({
        status: "ok",
        createdAt: Date.parse((await rig.queue.get("a"))!.createdAt),
      });
      expect(await rig.members("ready")).to.deep.equal(["a"]);
      expect(await rig.members("delayed")).to.deep.equal(["b"]);
      expect((await rig.queue.counts()).totals.enqueued).to.equal(2);
    });

    it("enqueue() does not start a task again that has ended", async () => {
      const args = ["", "call1:", "a", "kind", "1", ""];
      await run(enqueueTasks, ...args);
      const worker = rig.queue.worker(() => "result");
      await rig.until("a", "succeeded");
      await worker.stop();
      expect(await run(enqueueTasks, ...args)).to.have.nested.property("[0].status", "ok");
      expect(await rig.members("ready")).to.deep.equal([]);
    });

    it("enqueue() with a deduplication key returns its own task", async () => {
      const args = ["", "call1:", "a", "kind", "1", "\n0\n\n\n\n\nkey"];
      const first = await run(enqueueTasks, ...args);
      expect(await run(enqueueTasks, ...args)).to.deep.equal(first);
      expect(await rig.members("ready")).to.deep.equal(["a"]);
    });

    it("enqueueMany() adds its tasks once and does not reject its own ids", async () => {
      const args = ["1", "call1:", "a", "kind", "1", "", "b", "kind", "2", "1\n0\n\n\n\n\n"];
      const first = await run(enqueueTasks, ...args);
      expect(await run(enqueueTasks, ...args)).to.deep.equal(first);
      expect(await rig.members("ready")).to.deep.equal(["a", "b"]);
      expect(await run(enqueueTasks, "1", "call2:", ...args.slice(2))).to.deep.equal({ taken: "a" });
    });

    it("claim() returns the same tasks and no others", async () => {
      await enqueue("a", "b", "c", "d");
      const first = await claim("call1");
      expect(first.tasks.map(({ id, attempt }) => [id, attempt])).to.deep.equal([
        ["a", 1],
        ["b", 1],
      ]);
      const again = await claim("call1");
      expect(again.tasks).to.deep.equal(first.tasks);
      expect(again.waitMs, "others wait").to.equal(0);
      expect(await rig.members("ready")).to.deep.equal(["c", "d"]);
      expect((await claim("call2")).tasks.map(({ id }) => id)).to.deep.equal(["c", "d"]);
    });

    it("claim() returns no task that has ended or whose lease has expired", async () => {
      await enqueue("a", "b");
      const { tasks } = await claim("call1");
      await settle("a", tasks[0]!.token, "succeeded", 100, "done", "1", 0, 60_000);
      await rig.expire("leases", "b");
      const worker = rig.queue.worker(rig.hang);
      await rig.until("b", "running");
      expect((await claim("call1")).tasks).to.deep.equal([]);
      expect(worker.running).to.equal(1);
    });

    it("claim() uses no more tokens of a rate limit", async () => {
      await enqueue("a", "b", "c");
      const limit = [3, 3_600_000];
      await claim("call1", { limit });
      await claim("call1", { limit });
      expect((await claim("call2", { limit })).tasks.map(({ id }) => id)).to.deep.equal(["c"]);
    });

    for (const [verdict, delayMs, status, set] of [
      ["succeeded", 0, "succeeded", "succeeded"],
      ["failed", 0, "failed", "failed"],
      ["retry", 60_000, "delayed", "delayed"],
      ["retry", 0, "queued", "ready"],
      ["back", 0, "queued", "ready"],
    ] as const) {
      it(`settle() stores and publishes the outcome "${verdict}" (${delayMs} ms) once and accepts it again`, async () => {
        await enqueue("a");
        const watcher = await rig.watch("a");
        const { tasks } = await claim("call1");
        const outcome = ["a", tasks[0]!.token, verdict, 40, "said", "1", delayMs, 60_000] as const;
        expect(await settle(...outcome)).to.deep.equal([true]);
        expect(await settle(...outcome)).to.deep.equal([true]);
        expect(await rig.members(set)).to.deep.equal(["a"]);
        const task = (await rig.queue.get("a"))!;
        expect(task).to.include({ status, attempt: verdict === "back" ? 0 : 1, message: "said" });
        await watcher.next(verdict === "back" ? "requeued" : verdict);
        expect(watcher.types).to.have.length(3);
        const { totals } = await rig.queue.counts();
        expect(totals.refused).to.equal(0);
        expect(totals.succeeded + totals.failed + totals.retried).to.equal(verdict === "back" ? 0 : 1);
      });
    }

    it("settle() accepts only the attempt's own token and counts each rejection", async () => {
      await enqueue("a");
      await claim("call1");
      for (const token of ["", "call1:2", "call0:1"]) {
        expect(await settle("a", token, "succeeded", 100, "done", "1", 0, 60_000)).to.deep.equal([false]);
      }
      expect(await settle("unknown", "call1:1", "succeeded", 100, "done", "1", 0, 60_000)).to.deep.equal([
        false,
      ]);
      expect((await rig.queue.get("a"))!.status).to.equal("running");
      expect((await rig.queue.counts()).totals.refused).to.equal(4);
    });

    it("settle() stores different outcomes of one batch in their sets", async () => {
      await enqueue("a", "b");
      const token = (await claim("call1")).tasks[0]!.token;
      const head = (verdict: string): string => [token, verdict, 100, 0, 60_000, "end"].join("\n");
      const args = [head("succeeded"), 1, "a", "1", head("failed"), 1, "b", "no"];
      expect(await run(settleTasks, ...args)).to.deep.equal([true, true]);
      expect(await rig.members("succeeded")).to.deep.equal(["a"]);
      expect(await rig.members("failed")).to.deep.equal(["b"]);
      for (const set of ["succeeded", "failed"] as const) {
        expect(await rig.raw.pttl(rig.key(set)), set).to.be.within(60_000, 122_000);
      }
    });

    it("settle() returns the same reply for a retry even if a later attempt was lost", async () => {
      await enqueue("a");
      const first = (await claim("call1")).tasks[0]!.token;
      const retry = (): Promise<readonly boolean[]> =>
        settle("a", first, "retry", 0, "again", "no", 0, 60_000);
      expect(await retry()).to.deep.equal([true]);
      await claim("call2");
      expect(await retry()).to.deep.equal([true]);
      await rig.expire("leases", "a");
      await claim("call3");
      expect(await retry()).to.deep.equal([true]);
    });

    it("claim() returns a wait even if a schedule has an infinite time", async () => {
      await rig.queue.schedule("never", { everyMs: 3_600_000 }, "kind", null);
      await rig.raw.zadd(rig.key("due"), "-inf", "never");
      expect((await claim("call1")).waitMs).to.be.greaterThan(1_000);
    });

    it("settle() stores equal outcomes of one batch, each with its own token", async () => {
      await enqueue("a", "b", "c");
      const head = (token: string, verdict: string): string =>
        [token, verdict, 100, 0, 60_000, "two\nlines"].join("\n");
      const first = (await claim("call1")).tasks[0]!.token;
      const second = (await claim("call2")).tasks[0]!.token;
      const succeeded = [head(first, "succeeded"), 2, "a", "1", "b", "2"];
      const args = [...succeeded, head(second, "failed"), 2, "c", "Error: no", "a", "3"];
      expect(await run(settleTasks, ...args)).to.deep.equal([true, true, true, false]);
      expect(await rig.queue.get("a")).to.include({ status: "succeeded", result: 1, message: "two\nlines" });
      expect(await rig.queue.get("b")).to.include({ status: "succeeded", result: 2, message: "two\nlines" });
      expect(await rig.queue.get("c")).to.include({ status: "failed", result: null });
    });

    it("report() publishes its events once", async () => {
      await enqueue("a");
      const watcher = await rig.watch("a");
      const { token } = (await claim("call1")).tasks[0]!;
      const report = ["a", token, 1, 40, "said", "", "chunk", "piece"];
      expect(await run(reportTask, ...report)).to.equal("taken");
      expect(await run(reportTask, ...report)).to.equal("taken");
      // Another process may have reported in between.
      await rig.queue.publishProgress("a", { progress: 41 });
      expect(await run(reportTask, ...report)).to.equal("taken");
      await rig.queue.cancel("a");
      await watcher.end();
      expect(watcher.dataOf("chunk")).to.deep.equal(["piece"]);
      expect(watcher.told.map(({ progress }) => progress)).to.deep.equal([0, 0, 40, 41, 41]);
    });

    it("cancel() counts and publishes the cancellation once", async () => {
      await enqueue("a");
      const watcher = await rig.watch("a");
      for (let time = 0; time < 2; time++)
        expect(await run(cancelTask, "a", "no", 60_000)).to.equal("cancelled");
      await watcher.end();
      expect(watcher.types).to.deep.equal(["queued", "cancelled"]);
      expect((await rig.queue.counts()).totals.cancelled).to.equal(1);
    });

    it("requeue() and purge() take effect once", async () => {
      await enqueue("a", "b");
      const { tasks } = await claim("call1");
      for (const { id, token } of tasks) await settle(id, token, "failed", 0, "no", "", 0, 60_000);
      for (let time = 0; time < 2; time++) await run(requeueTasks, "a");
      for (let time = 0; time < 2; time++) await run(purgeTasks, "b");
      expect(await rig.members("ready")).to.deep.equal(["a"]);
      expect(await rig.members("failed")).to.deep.equal([]);
      expect(await rig.queue.get("b")).to.equal(null);
      expect((await claim("call2")).tasks[0]).to.include({ id: "a", attempt: 1 });
      // A task that is already running is not queued again.
      await run(requeueTasks, "a");
      expect(await rig.members("ready")).to.deep.equal([]);
    });

    it("a schedule advances and fires once for each time", async () => {
      await run(writeSchedule, "tick", "{}", 1_000);
      expect(await run(advanceSchedule, "tick", 1_000, 2_000)).to.equal(true);
      expect(await run(advanceSchedule, "tick", 1_000, 2_000)).to.equal(false);
      const fire = (id: string, due: number, next: number | "", content = "{}"): Promise<unknown> =>
        run(fireSchedule, "", `call ${id}`, "tick", due, next, content, id, "kind", "1", "");
      expect(await fire("a", 1_000, 3_000), "a time that another process has fired").to.equal(null);
      expect(await fire("b", 2_000, 3_000)).to.include({ status: "ok" });
      await rig.raw.del(rig.taskKey("b"));
      expect(await fire("c", 2_000, 3_000), "even if its task has expired").to.equal(null);
      expect(await fire("d", 3_000, 4_000, '{"changed":1}'), "a schedule that was changed").to.equal(null);
      expect(await rig.members("ready")).to.deep.equal(["b"]);
      expect(await run(advanceSchedule, "tick", 3_000, "")).to.equal(true);
      expect(await rig.members("due")).to.deep.equal([]);
      expect(await fire("e", 3_000, 4_000), "a schedule that was removed").to.equal(null);
      expect(await rig.queue.get("e")).to.equal(null);
    });
  });
}
