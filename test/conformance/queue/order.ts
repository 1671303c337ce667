import { expect } from "chai";

import { eventually } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import type { QueueRig } from "../../support/queue-rig.js";

/** Tests the order in which tasks run. */
export function describeOrder(rig: QueueRig): void {
  describe("order of tasks", () => {
    /** Returns the ids in the order in which a worker runs the tasks. */
    async function workOff(count: number): Promise<readonly string[]> {
      const order: string[] = [];
      rig.queue.worker(({ task }) => void order.push(task.id));
      await eventually(() => expect(order).to.have.length(count));
      return order;
    }

    async function enqueue(...ids: string[]): Promise<void> {
      for (const id of ids) await rig.queue.enqueue("kind", null, { id });
    }

    it("is by priority, then by age", async () => {
      for (const [index, priority] of [0, 100, -100, 5, 100, -5, 0].entries()) {
        await rig.queue.enqueue("kind", null, { id: `p${index}`, priority });
      }
      expect(await workOff(7)).to.deep.equal(["p1", "p4", "p3", "p0", "p6", "p5", "p2"]);
    });

    it("keeps the place of tasks that were given back", async () => {
      await enqueue("a", "b", "c", "d");
      const first = rig.queue.worker(rig.hang, { concurrency: 3 });
      await eventually(() => expect(first.running).to.equal(3));
      await first.stop({ graceMs: 0 });
      expect(await workOff(4)).to.deep.equal(["a", "b", "c", "d"]);
    });

    it("keeps the place of tasks whose lease has expired", async () => {
      await enqueue("a", "b", "c", "d");
      const other = await rig.service({ clock: new FakeClock() });
      const lost = other.queue(rig.name).worker(rig.hang, { concurrency: 3 });
      await eventually(() => expect(lost.running).to.equal(3));
      await rig.expire("leases", "c", "b", "a"); // long ago
      expect(await workOff(4)).to.deep.equal(["a", "b", "c", "d"]);
    });

    it("places a due delayed task by its priority and age", async () => {
      await rig.queue.enqueue("kind", null, { id: "due", delayMs: 60_000 });
      await rig.queue.enqueue("kind", null, { id: "urgent", delayMs: 60_000, priority: 1 });
      await enqueue("a", "b");
      await rig.expire("delayed", "due", "urgent");
      expect(await workOff(4)).to.deep.equal(["urgent", "due", "a", "b"]);
    });

    it("skips an id without a task", async () => {
      await rig.raw.zadd(rig.key("ready"), -1, "ghost");
      await rig.raw.zadd(rig.key("delayed"), 1, "ghost of the delayed");
      await rig.raw.zadd(rig.key("leases"), 1, "ghost of the running");
      await enqueue("a");
      expect(await workOff(1)).to.deep.equal(["a"]);
      expect(await rig.raw.keys("*ghost*")).to.deep.equal([]);
      for (const set of ["ready", "delayed", "leases"] as const) {
        await eventually(async () => expect(await rig.members(set)).to.deep.equal([]));
      }
    });
  });
}
