import { expect } from "chai";

import { eventually } from "../../support/eventually.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { expectFault, faultOf, untilIdle } from "../../support/service.js";

/** Tests delayed tasks and deduplication. */
export function describeDelay(rig: QueueRig): void {
  describe("delayed task", () => {
    it("starts on an idle worker as soon as delayMs has passed", async () => {
      rig.queue.worker(() => {});
      await untilIdle(rig.sse);
      const task = await rig.queue.enqueue("kind", 1, { delayMs: 150 });
      expect(task).to.include({ status: "delayed" });
      expect(Date.parse(task.runAt!) - Date.parse(task.createdAt)).to.equal(150);
      expect(await rig.queue.get(task.id)).to.deep.equal(task);
      expect(await rig.members("ready")).to.deep.equal([]);
      // The worker's next poll would be only after 5 seconds.
      const done = await eventually(async () => {
        const found = (await rig.queue.get(task.id))!;
        expect(found.status).to.equal("succeeded");
        return found;
      }, 3_000);
      expect(Date.parse(done.startedAt!) - Date.parse(done.createdAt)).to.be.at.least(150);
      expect(done.runAt).to.equal(null);
    });

    it("does not start before it is due", async () => {
      let begun = 0;
      rig.queue.worker(() => void begun++, { pollMs: 10 });
      const { id } = await rig.queue.enqueue("kind", null, { delayMs: 60_000 });
      const now = await rig.queue.enqueue("kind", null);
      await rig.until(now.id, "succeeded");
      await untilIdle(rig.sse);
      expect(begun).to.equal(1);
      await rig.expire("delayed", id);
      await rig.until(id, "succeeded");
    });

    it("waits until runAt, as a Date or in milliseconds", async () => {
      const at = Date.now() + 3_600_000;
      for (const runAt of [new Date(at), at, at + 0.5]) {
        const task = await rig.queue.enqueue("kind", null, { runAt });
        expect(task).to.include({ status: "delayed", runAt: new Date(at).toISOString() });
        expect(await rig.queue.get(task.id)).to.deep.equal(task);
      }
    });

    it("is ready at once if runAt is in the past or delayMs is 0", async () => {
      for (const options of [{ runAt: new Date(0) }, { runAt: Date.now() - 10_000 }, { delayMs: 0 }]) {
        const task = await rig.queue.enqueue("kind", null, options);
        expect(task).to.include({ status: "queued", runAt: null });
        expect(await rig.queue.get(task.id)).to.deep.equal(task);
      }
      expect(await rig.members("ready")).to.have.length(3);
    });
  });

  describe("deduplicate", () => {
    it("returns the existing task of a key in any state until it ends", async () => {
      const first = await rig.queue.enqueue("kind", 1, { deduplicate: "key", delayMs: 60_000 });
      expect(await rig.queue.enqueue("other", 2, { deduplicate: "key" })).to.deep.equal(first);
      expect(await rig.queue.enqueue("other", 3, { deduplicate: { key: "key" } })).to.deep.equal(first);
      await rig.expire("delayed", first.id);
      const { end } = await rig.takeAndVanish();
      expect(await rig.queue.enqueue("kind", 4, { deduplicate: "key" })).to.include({
        id: first.id,
        status: "running",
      });
      end("done");
      await rig.until(first.id, "succeeded");
      const next = await rig.queue.enqueue("kind", 5, { deduplicate: "key" });
      expect(next.id).to.not.equal(first.id);
      expect((await rig.queue.counts()).totals.enqueued).to.equal(2);
    });

    for (const [end, finish] of [
      ["been cancelled", (id: string) => rig.queue.cancel(id)],
      [
        "failed",
        (id: string) => {
          rig.queue.worker(() => Promise.reject(new Error("no")), { onError() {} });
          return rig.until(id, "failed");
        },
      ],
    ] as const) {
      it(`accepts a new task after the first one has ${end}`, async () => {
        const first = await rig.queue.enqueue("kind", 1, { deduplicate: "key", attempts: 1 });
        await finish(first.id);
        const next = await rig.queue.enqueue("kind", 2, { deduplicate: "key" });
        expect(next.id).to.not.equal(first.id);
      });
    }

    it("returns the first task for windowMs after it was enqueued, even if it has ended", async () => {
      const deduplicate = { key: "window", windowMs: 600 };
      const first = await rig.queue.enqueue("kind", 1, { deduplicate, resultTtlMs: 1 });
      rig.queue.worker(() => {});
      await rig.until(first.id, "succeeded");
      const again = await rig.queue.enqueue("kind", 2, { deduplicate });
      expect(again).to.include({ id: first.id, status: "succeeded" });
      const next = await eventually(async () => {
        const task = await rig.queue.enqueue("kind", 3, { deduplicate });
        expect(task.id).to.not.equal(first.id);
        return task;
      });
      expect(Date.parse(next.createdAt) - Date.parse(first.createdAt)).to.be.at.least(500);
    });

    it("applies to each queue separately", async () => {
      const first = await rig.queue.enqueue("kind", 1, { deduplicate: "key" });
      const other = await rig.sse.queue(`${rig.name}-other`).enqueue("kind", 1, { deduplicate: "key" });
      expect(other.id).to.not.equal(first.id);
    });

    it("returns the existing task of the key also if an id is given", async () => {
      const first = await rig.queue.enqueue("kind", 1, { deduplicate: "key", id: "given" });
      expect(await rig.queue.enqueue("kind", 2, { deduplicate: "key", id: "given" })).to.deep.equal(first);
      expect(await rig.queue.enqueue("kind", 3, { deduplicate: "key", id: "other" })).to.deep.equal(first);
      const many = await rig.queue.enqueueMany([
        { kind: "kind", payload: 4, options: { deduplicate: "key", id: "given" } },
      ]);
      expect(many).to.deep.equal([first]);
      expectFault(
        await faultOf(rig.queue.enqueue("kind", 5, { deduplicate: "another", id: "given" })),
        "TASK_EXISTS",
      );
      expect(await rig.members("ready")).to.deep.equal(["given"]);
    });

    it("enqueues only one of several concurrent tasks with the same key", async () => {
      const tasks = await Promise.all(
        Array.from({ length: 50 }, (_, index) => rig.queue.enqueue("kind", index, { deduplicate: "key" })),
      );
      expect(new Set(tasks.map(({ id }) => id)).size).to.equal(1);
      expect(await rig.members("ready")).to.have.length(1);
    });
  });
}
