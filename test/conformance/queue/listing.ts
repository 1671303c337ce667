import { expect } from "chai";

import type { ListOptions, TaskStatus } from "../../../lib/index.js";
import { eventually } from "../../support/eventually.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { expectFault, faultOf } from "../../support/service.js";

/** Tests what operators can see of a queue. */
export function describeListing(rig: QueueRig): void {
  describe("list()", () => {
    async function pages(state: TaskStatus, limit: number): Promise<readonly (readonly string[])[]> {
      const found: string[][] = [];
      let cursor: string | null = null;
      do {
        const { tasks, next } = await rig.queue.list(state, { limit, cursor });
        found.push(tasks.map(({ id }) => id));
        cursor = next;
      } while (cursor !== null);
      return found;
    }

    it("returns the tasks of each state as get() does", async () => {
      await rig.queue.enqueue("kind", null, { id: "running" });
      await rig.takeAndVanish();
      await rig.queue.enqueue("kind", 1, { id: "queued" });
      await rig.queue.enqueue("kind", 2, { id: "delayed", delayMs: 60_000 });
      await rig.queue.enqueue("kind", 3, { id: "cancelled" });
      await rig.queue.cancel("cancelled");
      for (const state of ["queued", "delayed", "running", "cancelled"] as const) {
        const { tasks, next } = await rig.queue.list(state);
        expect(tasks, state).to.deep.equal([await rig.queue.get(state)]);
        expect(next).to.equal(null);
      }
      for (const state of ["succeeded", "failed"] as const) {
        expect(await rig.queue.list(state)).to.deep.equal({ tasks: [], next: null });
      }
      expect(await rig.queue.counts()).to.deep.equal({
        queued: 1,
        delayed: 1,
        running: 1,
        succeeded: 0,
        failed: 0,
        cancelled: 1,
        unreadable: 0,
        paused: false,
        totals: {
          enqueued: 4,
          succeeded: 0,
          failed: 0,
          cancelled: 1,
          retried: 0,
          lost: 0,
          refused: 0,
          unreadable: 0,
          unknownKind: 0,
        },
      });
    });

    it("returns pages in the order in which the tasks will run", async () => {
      const ids = Array.from({ length: 10 }, (_, index) => `t${index}`);
      for (const [index, id] of ids.entries()) {
        await rig.queue.enqueue("kind", null, { id, priority: index < 5 ? -3 : 100 });
      }
      const order = [...ids.slice(5), ...ids.slice(0, 5)];
      expect(await pages("queued", 4)).to.deep.equal([order.slice(0, 4), order.slice(4, 8), order.slice(8)]);
      expect(await pages("queued", 1_000)).to.deep.equal([order]);
      expect((await pages("queued", 5)).flat()).to.deep.equal(order);
    });

    it("returns every unchanged task even if others are added or removed between the pages", async () => {
      await rig.queue.enqueueMany(
        Array.from({ length: 20 }, (_, index) => ({
          kind: "k",
          payload: index,
          options: { id: `t${index}` },
        })),
      );
      const first = await rig.queue.list("queued", { limit: 8 });
      for (const id of ["t7", "t3", "t12"]) await rig.queue.cancel(id);
      await rig.queue.enqueue("kind", null, { id: "urgent", priority: 9 });
      const second = await rig.queue.list("queued", { limit: 8, cursor: first.next! });
      const third = await rig.queue.list("queued", { limit: 8, cursor: second.next! });
      const seen = [...first.tasks, ...second.tasks, ...third.tasks].map(({ id }) => id);
      const stayed = Array.from({ length: 20 }, (_, index) => `t${index}`).filter((id) => id !== "t12");
      expect(seen).to.deep.equal(stayed);
    });

    it("returns all ended tasks page by page, also if many ended at the same time", async () => {
      const tasks = await rig.queue.enqueueMany(
        Array.from({ length: 60 }, (_, index) => ({ kind: "k", payload: index })),
      );
      rig.queue.worker(() => {}, { concurrency: 100 });
      await eventually(async () => expect((await rig.queue.counts()).succeeded).to.equal(60));
      const seen = (await pages("succeeded", 7)).flat();
      expect(seen.toSorted()).to.deep.equal(tasks.map(({ id }) => id).toSorted());
    });

    it("omits tasks that no longer exist", async () => {
      for (const id of ["a", "b", "c"]) await rig.queue.enqueue("kind", null, { id });
      await rig.raw.del(rig.taskKey("b"));
      const { tasks } = await rig.queue.list("queued");
      expect(tasks.map(({ id }) => id)).to.deep.equal(["a", "c"]);
    });

    it("rejects an invalid state, options and cursor", async () => {
      for (const [state, options, code] of [
        ["constructor", {}, "CONFIG"],
        [undefined, {}, "CONFIG"],
        ["queued", { limit: 0 }, "CONFIG"],
        ["queued", { limit: 1_001 }, "CONFIG"],
        ["queued", { offset: 5 }, "CONFIG"],
        ["queued", null, "CONFIG"],
        ["queued", { cursor: "5" }, "INVALID_TASK"],
        ["queued", { cursor: "5.a b" }, "INVALID_TASK"],
        ["queued", { cursor: 5 }, "INVALID_TASK"],
      ] as const) {
        const fault = await faultOf(rig.queue.list(state as TaskStatus, options as unknown as ListOptions));
        expectFault(fault, code, `${state} ${JSON.stringify(options)}`);
      }
    });
  });

  describe("counts() and statistics", () => {
    it("count for all processes and for this process, and appear in status()", async () => {
      const other = await rig.service();
      await rig.queue.enqueueMany(Array.from({ length: 5 }, (_, index) => ({ kind: "k", payload: index })));
      other.queue(rig.name, { backoff: 0 }).worker(
        ({ task, attempt }) => {
          if (task.payload === 4 && attempt === 1) throw new Error("once");
        },
        { onError() {} },
      );
      await eventually(async () => expect((await rig.queue.counts()).succeeded).to.equal(5));
      expect(rig.queue.statistics).to.include({ name: rig.name, workers: 0, enqueued: 5, started: 0 });
      await eventually(() =>
        expect(other.queue(rig.name).statistics).to.include({
          workers: 1,
          enqueued: 0,
          started: 6,
          succeeded: 5,
          retried: 1,
        }),
      );
      const { queues } = await other.status({ drift: false });
      expect(queues).to.have.length(1);
      expect(queues[0]).to.deep.equal({
        ...other.queue(rig.name).statistics,
        counts: await rig.queue.counts(),
      });
      expect(queues[0]!.counts!.totals).to.include({ enqueued: 5, succeeded: 5, retried: 1 });
    });
  });
}
