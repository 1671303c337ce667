import { expect } from "chai";

import { eventually } from "../../support/eventually.js";
import { useQueue } from "../../support/queue-rig.js";
import type { MakeService } from "../../support/service.js";

const HOUR_MS = 3_600_000;

/** How long tasks that are over can be read, and how many of them. */
export function describeRetention(makeService: MakeService): void {
  describe("a task that is over", () => {
    const rig = useQueue(makeService);
    const leftMs = (id: string): Promise<number> => rig.raw.pttl(rig.taskKey(id));

    it("can be read for a day, a dead letter for a week, and without limit before", async () => {
      for (const id of ["done", "failed", "cancelled"]) {
        await rig.queue.enqueue("kind", null, { id, attempts: 1 });
        expect(await leftMs(id)).to.equal(-1);
      }
      await rig.queue.cancel("cancelled");
      rig.queue.worker(({ task }) => (task.id === "failed" ? Promise.reject(new Error("no")) : null), {
        onError() {},
      });
      await rig.until("done", "succeeded");
      await rig.until("failed", "failed");
      expect(await leftMs("done")).to.be.within(23 * HOUR_MS, 24 * HOUR_MS);
      expect(await leftMs("cancelled")).to.be.within(23 * HOUR_MS, 24 * HOUR_MS);
      expect(await leftMs("failed")).to.be.within(167 * HOUR_MS, 168 * HOUR_MS);
    });

    it("can be read as long as the queue says, or the task itself", async () => {
      const queue = await rig.elsewhere({ resultTtlMs: 60_000, deadLetterTtlMs: 120_000 });
      for (const id of ["done", "failed"]) await queue.enqueue("kind", null, { id, attempts: 1 });
      await queue.enqueue("kind", null, { id: "own", resultTtlMs: 30_000 });
      await queue.enqueue("kind", null, { id: "cancelled" });
      await queue.cancel("cancelled");
      queue.worker(({ task }) => (task.id === "failed" ? Promise.reject(new Error("no")) : null), {
        onError() {},
      });
      for (const id of ["done", "own"]) await rig.until(id, "succeeded");
      await rig.until("failed", "failed");
      expect(await leftMs("done")).to.be.within(50_000, 60_000);
      expect(await leftMs("cancelled")).to.be.within(50_000, 60_000);
      expect(await leftMs("own")).to.be.within(20_000, 30_000);
      expect(await leftMs("failed")).to.be.within(110_000, 120_000);
    });

    it("is forgotten when its time is over, and its id is free again", async () => {
      const queue = await rig.elsewhere({ resultTtlMs: 1 });
      await queue.enqueue("kind", null, { id: "again" });
      const watcher = await rig.watch("again");
      const worker = queue.worker(() => {});
      await eventually(async () => expect(await queue.get("again")).to.equal(null));
      await worker.stop();
      await watcher.session.close();
      expect(await queue.counts()).to.include({ succeeded: 0 });
      expect((await queue.list("succeeded")).tasks).to.deep.equal([]);
      await eventually(async () => expect(await rig.raw.keys("sse:*:{tasks}:*again*")).to.deep.equal([]));
      expect(await queue.enqueue("kind", null, { id: "again" })).to.include({ attempt: 0 });
    });

    it("leaves nothing behind in its queue once another ends after its time", async () => {
      const queue = await rig.elsewhere({ resultTtlMs: 1 });
      queue.worker(() => {});
      await queue.enqueue("kind", null, { id: "first" });
      await eventually(async () => expect(await queue.get("first")).to.equal(null));
      await eventually(async () => {
        const { id } = await queue.enqueue("kind", null);
        await eventually(async () => expect(await queue.get(id)).to.equal(null));
        expect(await rig.members("succeeded")).to.not.include("first");
      });
    });

    it("is forgotten before its time where more than maxResults are, the oldest first, with their logs", async () => {
      const queue = await rig.elsewhere({ maxResults: 5 });
      const ids = Array.from({ length: 12 }, (_, index) => `t${String(index).padStart(2, "0")}`);
      for (const id of ids) {
        await queue.enqueue("kind", null, { id });
        await queue.publishProgress(id, { progress: 1 }); // each has a log
      }
      const end: number[] = [];
      queue.worker(({ task }) => {
        end.push(Number(task.id.slice(1)));
      });
      await rig.until("t11", "succeeded");
      const left = await rig.members("succeeded");
      expect(left).to.have.length(5);
      const kept = await Promise.all(ids.map(async (id) => ((await queue.get(id)) === null ? [] : [id])));
      expect(kept.flat().toSorted()).to.deep.equal(left.toSorted());
      expect((await rig.raw.keys("sse:log:{tasks}:task_progress:*")).length).to.equal(5);
      expect((await queue.counts()).totals.succeeded).to.equal(12);
    });
  });
}
