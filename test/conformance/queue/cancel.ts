import { expect } from "chai";

import type { TaskContext } from "../../../lib/index.js";
import { eventually } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { holdSubscriptions } from "./hold-subscriptions.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { expectFault, faultOf, untilIdle } from "../../support/service.js";

/** Tests the cancellation of tasks. */
export function describeCancel(rig: QueueRig): void {
  describe("cancel()", () => {
    for (const [state, options] of [
      ["ready", {}],
      ["delayed", { delayMs: 60_000 }],
    ] as const) {
      it(`removes a ${state} task from the queue`, async () => {
        const { id } = await rig.queue.enqueue("kind", null, options);
        const watcher = await rig.watch(id);
        expect(await rig.queue.cancel(id, "not wanted")).to.equal(true);
        expect(await rig.queue.cancel(id, "again")).to.equal(true);
        expect((await rig.queue.counts()).totals.cancelled).to.equal(1);
        expect(await rig.members(state)).to.deep.equal([]);
        expect(await rig.queue.get(id)).to.include({
          status: "cancelled",
          message: "not wanted",
          attempt: 0,
        });
        await watcher.end();
        expect(watcher.told.map(({ type, message }) => [type, message])).to.deep.equal([
          ["queued", ""],
          ["cancelled", "not wanted"],
        ]);
        let begun = 0;
        rig.queue.worker(() => void begun++);
        await untilIdle(rig.sse);
        expect(begun).to.equal(0);
      });
    }

    it("aborts the signal of a task that runs in another process and frees its slot at once", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      const next = await rig.queue.enqueue("kind", null);
      const contexts: TaskContext[] = [];
      const other = await rig.service();
      const worker = other.queue(rig.name).worker(
        (context) => {
          contexts.push(context);
          return context.task.id === id ? rig.hang(context) : "next";
        },
        { pollMs: 5_000 },
      );
      await eventually(() => expect(contexts).to.have.length(1));
      await contexts[0]!.progress(40);
      const { signal } = contexts[0]!;
      await untilIdle(other);
      expect(await rig.queue.cancel(id)).to.equal(true);
      await eventually(() => expect(signal.aborted).to.equal(true), 1_500);
      expectFault(signal.reason, "CANCELLED");
      await rig.until(next.id, "succeeded");
      await eventually(() => expect(worker.running).to.equal(0));
      expect(await rig.queue.get(id)).to.include({ status: "cancelled", message: "cancelled", progress: 40 });
      expect(await rig.members("leases")).to.deep.equal([]);
      // Later calls of the handler have no effect.
      await contexts[0]!.progress(99);
      expectFault(await faultOf(contexts[0]!.write("late")), "ABORTED");
      expect(await rig.queue.get(id)).to.include({ progress: 40, result: null });
    });

    it("stays in effect if the handler ignores the signal, and does not count its error", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      const told: unknown[] = [];
      const { context, end, worker } = await rig.takeAndVanish();
      await rig.queue.cancel(id);
      await eventually(() => expect(context.signal.aborted).to.equal(true));
      end("result all the same");
      await worker.stop();
      const other = await rig.queue.enqueue("kind", null);
      rig.queue.worker(
        ({ signal }) =>
          new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("stopped")))),
        { onError: (error) => told.push(error) },
      );
      await rig.until(other.id, "running");
      await rig.queue.cancel(other.id);
      await eventually(async () => expect(rig.queue.statistics.running).to.equal(0));
      expect(await rig.queue.get(id)).to.include({ status: "cancelled", result: null });
      expect((await rig.queue.counts()).totals).to.include({
        cancelled: 2,
        failed: 0,
        retried: 0,
        succeeded: 0,
      });
      expect(told, "onError").to.deep.equal([]);
    });

    it("is detected when the worker's subscription is acknowledged, if it was cancelled before", async () => {
      const late = await rig.service({ clock: new FakeClock() });
      const acknowledge = holdSubscriptions(late);
      const { id } = await rig.queue.enqueue("kind", null);
      const contexts: TaskContext[] = [];
      const worker = late.queue(rig.name).worker((context) => {
        contexts.push(context);
        return rig.hang(context);
      });
      await eventually(() => expect(worker.running).to.equal(1));
      await rig.queue.cancel(id);
      acknowledge();
      await eventually(() => expect(contexts[0]!.signal.aborted).to.equal(true));
    });

    it("is detected at the next lease renewal if the worker missed the message", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      const { context, clock } = await rig.takeAndVanish(3_000);
      // Cancels the task without a message.
      await rig.raw.hset(rig.taskKey(id), { status: "cancelled", token: "" });
      clock.advance(1_000);
      await eventually(() => expect(context.signal.aborted).to.equal(true));
      expectFault(context.signal.reason, "CANCELLED");
    });

    it("is detected at the next report of the handler if the worker missed the message", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      const { context, worker } = await rig.takeAndVanish();
      await rig.raw.hset(rig.taskKey(id), { status: "cancelled", token: "" });
      await context.progress(50);
      expectFault(context.signal.reason, "CANCELLED");
      expect(worker.running).to.equal(0);
    });

    it("accepts a message of at most 1,000 characters and rejects any other message", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      for (const message of ["x".repeat(1_001), 7, null])
        expectFault(await faultOf(rig.queue.cancel(id, message as string)), "INVALID_TASK");
      const message = '"<b>\n\\é'.padEnd(1_000, "x");
      const watcher = await rig.watch(id);
      expect(await rig.queue.cancel(id, message)).to.equal(true);
      await watcher.end();
      expect(watcher.told.at(-1)!.message).to.equal(message);
    });

    it("returns false for a task that has ended, is unknown or is in another queue", async () => {
      await rig.queue.enqueue("kind", null, { id: "done" });
      const worker = rig.queue.worker(() => "result");
      await rig.until("done", "succeeded");
      await worker.stop();
      await rig.sse.queue(`${rig.name}-other`).enqueue("kind", null, { id: "elsewhere" });
      for (const id of ["done", "elsewhere", "unknown"])
        expect(await rig.queue.cancel(id), id).to.equal(false);
      expect(await rig.queue.get("done")).to.include({ status: "succeeded", result: "result" });
      expect((await rig.sse.task("elsewhere"))!.task.status).to.equal("queued");
      expect(await rig.raw.exists(rig.taskKey("unknown"))).to.equal(0);
    });
  });
}
