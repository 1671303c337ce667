import { expect } from "chai";

import { ConfigError, type TaskEntry } from "../../../lib/index.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { circular, expectFault, faultOf } from "../../support/service.js";

/** Tests that many tasks are enqueued in one step: all of them or none. */
export function describeEnqueueMany(rig: QueueRig): void {
  describe("enqueueMany()", () => {
    const expectNone = async (): Promise<void> => {
      expect(await rig.members("ready")).to.deep.equal([]);
      expect(await rig.members("delayed")).to.deep.equal([]);
      expect((await rig.queue.counts()).totals.enqueued).to.equal(0);
    };

    it("enqueues 1,000 tasks in order and returns them as get() does", async () => {
      const entries = Array.from({ length: 1_000 }, (_, index) => ({
        kind: `kind-${index % 3}`,
        payload: index,
      }));
      const tasks = await rig.queue.enqueueMany(entries);
      expect(tasks.map(({ kind, payload }) => ({ kind, payload }))).to.deep.equal(entries);
      expect(await rig.members("ready")).to.deep.equal(tasks.map(({ id }) => id));
      expect(await rig.queue.get(tasks[999]!.id)).to.deep.equal(tasks[999]);
      expect((await rig.queue.counts()).totals.enqueued).to.equal(1_000);
      expect(rig.queue.statistics.enqueued).to.equal(1_000);
      expect(await rig.queue.enqueueMany([])).to.deep.equal([]);
    });

    it("applies the options of each entry", async () => {
      const [delayed, urgent, plain] = await rig.queue.enqueueMany([
        { kind: "a", payload: null, options: { delayMs: 60_000, id: "later" } },
        { kind: "a", payload: null, options: { priority: 5 } },
        { kind: "a", payload: null },
      ]);
      expect(delayed).to.include({ id: "later", status: "delayed" });
      expect(Date.parse(delayed!.runAt!) - Date.parse(delayed!.createdAt)).to.equal(60_000);
      expect(urgent).to.include({ priority: 5, status: "queued" });
      expect(await rig.members("ready")).to.deep.equal([urgent!.id, plain!.id]);
      expect(await rig.members("delayed")).to.deep.equal(["later"]);
      expect(await rig.queue.get("later")).to.deep.equal(delayed);
    });

    it("returns an existing task with the same deduplication key in its place", async () => {
      const first = await rig.queue.enqueue("a", 1, { deduplicate: "one" });
      const tasks = await rig.queue.enqueueMany([
        { kind: "a", payload: 2 },
        { kind: "a", payload: 3, options: { deduplicate: "one" } },
        { kind: "a", payload: 4, options: { deduplicate: "two" } },
        { kind: "a", payload: 5, options: { deduplicate: "two" } },
      ]);
      expect(tasks.map(({ payload }) => payload)).to.deep.equal([2, 1, 4, 4]);
      expect(tasks[1]).to.deep.equal(first);
      expect(await rig.members("ready")).to.have.length(3);
    });

    it("enqueues no task if one id exists already, and names it", async () => {
      await rig.sse.queue("other").enqueue("a", null, { id: "taken" });
      const fault = await faultOf(
        rig.queue.enqueueMany([
          { kind: "a", payload: 1, options: { id: "free" } },
          { kind: "a", payload: 2, options: { id: "taken" } },
        ]),
      );
      expectFault(fault, "TASK_EXISTS");
      expect(String(fault)).to.include('"taken"');
      expect(await rig.queue.get("free")).to.equal(null);
      await expectNone();
      await rig.queue.enqueue("a", null, { id: "free" });
    });

    it("enqueues no task if two entries have the same id", async () => {
      const entry = { kind: "a", payload: 1, options: { id: "twice" } };
      expectFault(await faultOf(rig.queue.enqueueMany([entry, entry])), "INVALID_TASK");
      await expectNone();
    });

    for (const [what, entry, code, message] of [
      ["is null", null, "CONFIG", /^task 1: expected a task as an object/],
      ["has an unknown property", { kind: "a", payload: 1, delayMs: 5 }, "CONFIG", /^task 1: .*delayMs/],
      [
        "has an invalid option",
        { kind: "a", payload: 1, options: { priority: 101 } },
        "CONFIG",
        /^task 1: .*priority/,
      ],
      ["has an invalid payload", { kind: "a", payload: circular }, "UNSERIALIZABLE", /^task 1: /],
      ["is too large", { kind: "a", payload: "x".repeat(256 * 1024) }, "TASK_TOO_LARGE", /^task 1: /],
    ] as const) {
      it(`enqueues no task if one entry ${what}, and names the entry`, async () => {
        const entries = [{ kind: "a", payload: 1 }, entry] as unknown as TaskEntry[];
        const fault = await faultOf(rig.queue.enqueueMany(entries));
        expectFault(fault, code);
        if (code === "CONFIG") expect(fault).to.be.instanceOf(ConfigError);
        expect((fault as Error).message).to.match(message);
        await expectNone();
      });
    }

    it("rejects a non-array and more than 1,000 entries as CONFIG", async () => {
      const many = Array.from({ length: 1_001 }, () => ({ kind: "a", payload: 1 }));
      for (const entries of [{ kind: "a", payload: 1 }, undefined, many])
        expectFault(await faultOf(rig.queue.enqueueMany(entries as readonly TaskEntry[])), "CONFIG");
      await expectNone();
    });

    it("rejects more than 16 MiB in total", async () => {
      const entries = Array.from({ length: 70 }, () => ({ kind: "a", payload: "x".repeat(250_000) }));
      expectFault(await faultOf(rig.queue.enqueueMany(entries)), "TASK_TOO_LARGE");
      await expectNone();
    });
  });
}
