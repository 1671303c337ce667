import { expect } from "chai";

import { TaskFailure, type DeadLetter } from "../../../lib/index.js";
import { eventually } from "../../support/eventually.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { expectFault, faultOf, untilIdle } from "../../support/service.js";

/** Tests dead letters and what operators can do with them. */
export function describeDeadLetters(rig: QueueRig): void {
  describe("dead letters", () => {
    /** Enqueues tasks and lets each become a dead letter. */
    async function fail(...ids: string[]): Promise<void> {
      for (const id of ids) await rig.queue.enqueue("kind", { of: id }, { id, attempts: 1, priority: 7 });
      const worker = rig.queue.worker(
        ({ task }) => {
          throw new TypeError(`${task.id} is not a function`);
        },
        { onError() {}, concurrency: 1 },
      );
      for (const id of ids) await rig.until(id, "failed");
      await worker.stop();
    }

    const idsOf = (tasks: readonly DeadLetter[]): readonly string[] => tasks.map(({ id }) => id);

    it("lists dead letters with their errors", async () => {
      await fail("a");
      await rig.queue.enqueue("kind", null, { id: "b" });
      const worker = rig.queue.worker(() => {
        throw new TaskFailure("no paper");
      });
      await rig.until("b", "failed");
      await worker.stop();
      const { tasks, next } = await rig.queue.deadLetters.list();
      expect(next).to.equal(null);
      const withError = async (id: string, index: number): Promise<unknown> => ({
        ...(await rig.queue.get(id)),
        error: tasks[index]!.error,
      });
      expect(tasks).to.deep.equal([await withError("a", 0), await withError("b", 1)]);
      expect(tasks[0]!.error).to.match(/^TypeError: a is not a function\n +at .*dead-letters/);
      expect(tasks[1]!.error).to.match(/^TaskFailure: no paper\n +at /);
      expect(tasks[0]).to.include({ status: "failed", attempt: 1, kind: "kind" });
      expect(rig.queue.statistics.failed).to.equal(2);
    });

    it("lists a dead letter without an error if its worker was lost", async () => {
      await rig.queue.enqueue("kind", null, { id: "given-back", attempts: 1 });
      const first = rig.queue.worker(rig.hang);
      await eventually(() => expect(first.running).to.equal(1));
      await first.stop({ graceMs: 0 });
      await rig.takeAndVanish();
      await rig.expire("leases", "given-back");
      rig.queue.worker(() => {});
      await rig.until("given-back", "failed");
      const { tasks } = await rig.queue.deadLetters.list();
      expect(tasks[0]).to.include({ message: "its worker was lost", error: null });
    });

    it("requeues only one of several dead letters with the same deduplication key", async () => {
      const queue = await rig.elsewhere({ attempts: 1 });
      let isBroken = true;
      const worker = queue.worker(() => (isBroken ? Promise.reject(new Error("no")) : null), {
        onError() {},
      });
      for (const id of ["a", "b"]) {
        await queue.enqueue("kind", null, { id, deduplicate: { key: "one" } });
        await rig.until(id, "failed");
      }
      isBroken = false;
      await worker.stop();
      expect(await queue.deadLetters.requeueAll()).to.equal(1);
      expect(await queue.counts()).to.include({ queued: 1, failed: 1 });
    });

    it("shows the errors of the last three attempts, newest first", async () => {
      const { id } = await rig.queue.enqueue("kind", null, { attempts: 4, backoff: 0 });
      rig.queue.worker(
        ({ attempt }) => {
          throw new Error(`at attempt ${attempt}\nEarlier attempt: a line of its own`);
        },
        { onError() {} },
      );
      await rig.until(id, "failed");
      const { tasks } = await rig.queue.deadLetters.list();
      const [newest, ...earlier] = tasks[0]!.error!.split("\nEarlier attempt: ");
      expect(newest).to.match(/^Error: at attempt 4\n Earlier attempt: a line of its own\n +at /);
      expect(earlier).to.have.length(2);
      expect(earlier[0]).to.match(/^Error: at attempt 3\n/);
      expect(earlier[1]).to.match(/^Error: at attempt 2\n/);
    });

    it("requeues dead letters as new tasks with their priority and payload", async () => {
      await fail("a", "b", "c");
      const worker = rig.queue.worker(({ task, attempt }) => [task.payload, attempt], { pollMs: 5_000 });
      await untilIdle(rig.sse);
      await rig.queue.pause();
      expect(await rig.queue.deadLetters.requeue(["a", "c", "a"])).to.equal(2);
      expect(idsOf((await rig.queue.deadLetters.list()).tasks)).to.deep.equal(["b"]);
      expect(await rig.queue.get("a")).to.include({
        status: "queued",
        attempt: 0,
        progress: 0,
        message: "",
        priority: 7,
        startedAt: null,
        finishedAt: null,
      });
      expect(await rig.raw.pttl(rig.taskKey("a"))).to.equal(-1);
      expect(await rig.members("ready")).to.deep.equal(["a", "c"]);
      await rig.queue.resume();
      expect((await rig.until("a", "succeeded")).result).to.deep.equal([{ of: "a" }, 1]);
      await rig.until("c", "succeeded");
      await worker.stop();
      expect((await rig.queue.counts()).failed).to.equal(1);
    });

    it("requeues and purges all dead letters, also more than one page", async () => {
      await rig.queue.enqueueMany(
        Array.from({ length: 250 }, (_, index) => ({ kind: "k", payload: index, options: { attempts: 1 } })),
      );
      let broken = true;
      rig.queue.worker(() => (broken ? Promise.reject(new Error("broken")) : null), {
        onError() {},
        concurrency: 100,
      });
      const failed = async (): Promise<number> => (await rig.queue.counts()).failed;
      await eventually(async () => expect(await failed()).to.equal(250));
      await rig.queue.pause();
      expect(await rig.queue.deadLetters.requeueAll()).to.equal(250);
      expect(await rig.queue.counts()).to.include({ failed: 0, queued: 250 });
      await rig.queue.resume();
      await eventually(async () => expect(await failed()).to.equal(250));
      broken = false;
      expect(await rig.queue.deadLetters.purgeAll()).to.equal(250);
      expect(await rig.raw.keys("sse:task:*")).to.deep.equal([]);
      expect(await failed()).to.equal(0);
    });

    it("purges dead letters with their channels and frees their ids", async () => {
      await fail("a", "b");
      const watcher = await rig.watch("a");
      await watcher.end();
      expect(await rig.queue.deadLetters.purge("a")).to.equal(1);
      expect(await rig.queue.get("a")).to.equal(null);
      expect(await rig.raw.keys("sse:*:{tasks}:task_progress:a")).to.deep.equal([]);
      expect(idsOf((await rig.queue.deadLetters.list()).tasks)).to.deep.equal(["b"]);
      await rig.queue.enqueue("kind", null, { id: "a" });
    });

    it("does not requeue or purge tasks that have not failed", async () => {
      await rig.queue.enqueue("kind", null, { id: "done" });
      const worker = rig.queue.worker(() => "result");
      await rig.until("done", "succeeded");
      await worker.stop();
      await rig.queue.enqueue("kind", null, { id: "queued" });
      const other = rig.sse.queue(`${rig.name}-other`);
      await other.enqueue("kind", null, { id: "elsewhere", attempts: 1 });
      other.worker(() => Promise.reject(new Error("no")), { onError() {} });
      await eventually(async () => expect((await other.get("elsewhere"))!.status).to.equal("failed"));
      const ids = ["done", "queued", "elsewhere", "unknown"];
      expect(await rig.queue.deadLetters.requeue(ids)).to.equal(0);
      expect(await rig.queue.deadLetters.purge(ids)).to.equal(0);
      expect(await rig.queue.get("done")).to.include({ status: "succeeded", result: "result" });
      expect(await rig.members("ready")).to.deep.equal(["queued"]);
      expect((await other.get("elsewhere"))!.status).to.equal("failed");
    });

    it("rejects invalid ids", async () => {
      for (const ids of [undefined, null, 7, {}, [7], [""], "a b", ["a", "{b}"]]) {
        for (const what of ["requeue", "purge"] as const) {
          const fault = await faultOf(rig.queue.deadLetters[what](ids as string));
          expectFault(fault, typeof ids === "string" || Array.isArray(ids) ? "INVALID_TASK" : "CONFIG");
        }
      }
      expect(await rig.queue.deadLetters.requeue([])).to.equal(0);
    });
  });
}
