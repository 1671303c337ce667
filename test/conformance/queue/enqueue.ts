import { expect } from "chai";

import type { Task } from "../../../lib/index.js";
import { deferred } from "../../support/eventually.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { expectFault, faultOf } from "../../support/service.js";

/** Tests that `enqueue()`, `get()` and the worker's handler return the same task. */
export function describeEnqueue(rig: QueueRig): void {
  describe("enqueue()", () => {
    it("returns the task as get() does", async () => {
      const task = await rig.queue.enqueue("report", { pages: [1, 2] }, { priority: -7 });
      expect(task).to.deep.equal({
        id: task.id,
        queue: rig.name,
        kind: "report",
        payload: { pages: [1, 2] },
        status: "queued",
        priority: -7,
        progress: 0,
        message: "",
        data: null,
        attempt: 0,
        createdAt: task.createdAt,
        runAt: null,
        startedAt: null,
        finishedAt: null,
        result: null,
      });
      expect(await rig.queue.get(task.id)).to.deep.equal(task);
    });

    it("generates a unique id if none is given", async () => {
      const [one, two] = [await rig.queue.enqueue("kind", null), await rig.queue.enqueue("kind", null)];
      expect(one.id).to.match(/^[\w-]{1,128}$/);
      expect(two.id).to.not.equal(one.id);
    });

    it("stores a task that the service can read but other queues cannot", async () => {
      const task = await rig.queue.enqueue("kind", null);
      expect(await rig.sse.queue(`${rig.name}-other`).get(task.id)).to.equal(null);
      expect((await rig.sse.task(task.id))!.task).to.deep.equal(task);
      expect(await rig.queue.get("nobody")).to.equal(null);
      expect(await rig.sse.task("nobody")).to.equal(null);
    });

    it("keeps any kind and any JSON unchanged, including a __proto__ key", async () => {
      const payload: unknown = JSON.parse(
        '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}},"text":"é\\u2028\\r\\n\\ud83d\\ude00","list":[null,true,-0.5,1e300],"":""}',
      );
      const kind = 'a\nb "c" \\ {d} é\u0000';
      const { id } = await rig.queue.enqueue(kind, payload);
      const read = (await rig.queue.get(id))!.payload as object;
      expect(Object.keys(read)).to.deep.equal(Object.keys(payload as object));
      expect(JSON.stringify(read)).to.equal(JSON.stringify(payload));
      expect(({} as Record<string, unknown>)["polluted"]).to.equal(undefined);

      const received = deferred<Task>();
      rig.queue.worker(({ task }) => received.resolve(task));
      const task = await received.promise;
      expect(task.kind).to.equal(kind);
      expect(JSON.stringify(task.payload)).to.equal(JSON.stringify(payload));
      // The handler returns undefined.
      expect((await rig.until(id, "succeeded")).result).to.equal(null);
    });

    it("starts a task that is queued, then running, then succeeded with its result", async () => {
      const { id, createdAt } = await rig.queue.enqueue("kind", null);
      const started = deferred<unknown>();
      const release = deferred();
      rig.queue.worker(async ({ task, attempt, signal, progress }) => {
        const asRead = await rig.queue.get(id);
        await progress(40, "reading");
        started.resolve({ task, attempt, isAborted: signal.aborted, asRead });
        await release.promise;
        return { pages: 3 };
      });
      const given = (await started.promise) as { asRead: Task };
      expect(given).to.deep.equal({ task: given.asRead, attempt: 1, isAborted: false, asRead: given.asRead });
      const running = await rig.queue.get(id);
      expect(running).to.include({
        status: "running",
        progress: 40,
        message: "reading",
        attempt: 1,
        createdAt,
      });
      expect(running!.startedAt).to.be.a("string");
      expect(running).to.include({ finishedAt: null, result: null });
      release.resolve();
      const done = await rig.until(id, "succeeded");
      expect(done).to.include({ progress: 100, message: "done", attempt: 1 });
      expect(done.result).to.deep.equal({ pages: 3 });
      expect(done.finishedAt).to.be.a("string");
      expect(await rig.members("leases"), "leases").to.deep.equal([]);
    });

    it("sets createdAt to the current time", async () => {
      const begun = Date.now();
      // Runs for more than one second, to find a clock that is wrong in a part of each second.
      while (Date.now() < begun + 1_100) {
        const before = Date.now();
        const { createdAt } = await rig.queue.enqueue("kind", null);
        expect(Date.parse(createdAt)).to.be.within(before - 50, Date.now() + 50);
      }
    });

    it("accepts the longest id, kind, payload and queue name", async () => {
      const longest = rig.sse.queue("x".repeat(64));
      const task = await longest.enqueue("k".repeat(128), "x".repeat(256 * 1024 - 2), {
        id: "Az09_-".padEnd(128, "x"),
      });
      expect(await longest.get(task.id)).to.deep.equal(task);
    });

    it("rejects an existing id and does not change the existing task", async () => {
      await rig.queue.enqueue("kind", "first", { id: "taken" });
      const before = await rig.raw.hgetall(rig.taskKey("taken"));
      const fault = await faultOf(rig.queue.enqueue("other", "second", { id: "taken", priority: 9 }));
      expectFault(fault, "TASK_EXISTS");
      expect(String(fault)).to.include('"taken"');
      const other = rig.sse.queue(`${rig.name}-other`);
      expectFault(await faultOf(other.enqueue("other", "third", { id: "taken" })), "TASK_EXISTS");
      expect(await rig.raw.hgetall(rig.taskKey("taken"))).to.deep.equal(before);
      expect(await rig.members("ready")).to.deep.equal(["taken"]);
      expect((await rig.queue.counts()).totals.enqueued).to.equal(1);
    });

    it("rejects the id of an ended task while its result is kept", async () => {
      await rig.queue.enqueue("kind", "first", { id: "ended" });
      rig.queue.worker(() => "result");
      await rig.until("ended", "succeeded");
      expectFault(await faultOf(rig.queue.enqueue("kind", "second", { id: "ended" })), "TASK_EXISTS");
      expect((await rig.queue.get("ended"))!.result).to.equal("result");
    });

    it("resolves or rejects each of many concurrent calls separately", async () => {
      await rig.queue.enqueue("kind", null, { id: "taken" });
      const answers = await Promise.allSettled(
        Array.from({ length: 250 }, (_, index) =>
          rig.queue.enqueue("kind", index, { id: index === 120 ? "taken" : `task-${index}` }),
        ),
      );
      const refused = answers.flatMap(({ status }, index) => (status === "rejected" ? [index] : []));
      expect(refused).to.deep.equal([120]);
      for (const [index, answer] of answers.entries()) {
        if (answer.status === "fulfilled")
          expect(answer.value).to.include({ id: `task-${index}`, payload: index });
      }
      expect(await rig.members("ready")).to.deep.equal([
        "taken",
        ...Array.from({ length: 250 }, (_, index) => `task-${index}`).toSpliced(120, 1),
      ]);
    });
  });
}
