import { expect } from "chai";

import { TaskFailure } from "../../../lib/index.js";
import { deferred, eventually, settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { holdSubscriptions } from "./hold-subscriptions.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { untilIdle } from "../../support/service.js";

/** Tests how workers get their tasks. */
export function describeWorker(rig: QueueRig): void {
  describe("worker", () => {
    it("runs exactly as many tasks at once as its concurrency", async () => {
      const gates = new Map<string, () => void>();
      let now = 0;
      let most = 0;
      for (let task = 0; task < 5; task++) await rig.queue.enqueue("kind", null, { id: `c${task}` });
      const worker = rig.queue.worker(
        async ({ task }) => {
          most = Math.max(most, ++now);
          const gate = deferred();
          gates.set(task.id, gate.resolve);
          await gate.promise;
          now--;
        },
        { concurrency: 2 },
      );
      await eventually(() => expect(gates.size).to.equal(2));
      await untilIdle(rig.sse);
      expect(worker.running).to.equal(2);
      expect(rig.queue.statistics).to.include({ workers: 1, running: 2, started: 2 });
      expect(await rig.members("ready")).to.have.length(3);
      // When one task ends, one other starts.
      gates.get("c0")!();
      await eventually(() => expect([...gates.keys()]).to.deep.equal(["c0", "c1", "c2"]));
      for (const id of ["c1", "c2", "c3", "c4"]) {
        await eventually(() => expect(gates.has(id)).to.equal(true));
        gates.get(id)!();
      }
      await rig.until("c4", "succeeded");
      expect(most).to.equal(2);
    });

    it("uses the handler of each kind, and makes a task of an unknown kind a dead letter with unknownKindMs: 0", async () => {
      const queue = await rig.elsewhere({ unknownKindMs: 0 });
      await rig.queue.enqueue("double", 4, { id: "double" });
      await rig.queue.enqueue("length", "four", { id: "length" });
      for (const kind of ["other", "constructor", "__proto__"])
        await rig.queue.enqueue(kind, null, { id: kind });
      queue.worker({
        double: ({ task }) => Number(task.payload) * 2,
        length: ({ task }) => String(task.payload).length,
      });
      expect((await rig.until("double", "succeeded")).result).to.equal(8);
      expect((await rig.until("length", "succeeded")).result).to.equal(4);
      for (const kind of ["other", "constructor", "__proto__"]) {
        expect(await rig.until(kind, "failed")).to.include({
          attempt: 1,
          message: "no worker of this queue has a handler for this kind of task",
        });
      }
    });

    describe("task of an unknown kind", () => {
      const MESSAGE = "no worker of this queue has a handler for this kind of task";
      const knownTo = (...kinds: string[]): Record<string, () => string> =>
        Object.fromEntries(kinds.map((kind) => [kind, () => kind]));

      /** Waits until the task is delayed again and returns the remaining delay in milliseconds. */
      const untilBack = (times: number): Promise<number> =>
        eventually(async () => {
          expect((await rig.queue.counts()).totals.unknownKind).to.equal(times);
          const task = (await rig.queue.get("new"))!;
          expect(task).to.include({ status: "delayed", attempt: 0, message: MESSAGE });
          return Date.parse(task.runAt!) - Date.now();
        });

      it("is given back without using an attempt, for a worker that knows the kind", async () => {
        await rig.queue.enqueue("new", null, { id: "new", attempts: 1 });
        await rig.queue.enqueue("old", null, { id: "old" });
        const watcher = await rig.watch("new");
        const worker = rig.queue.worker(knownTo("old"), { pollMs: 20 });
        await rig.until("old", "succeeded");
        expect(await untilBack(1)).to.be.at.most(1_000);
        expect(rig.queue.statistics).to.include({ unknownKind: 1, failed: 0, retried: 0 });
        await rig.expire("delayed", "new");
        await untilBack(2);
        await worker.stop();
        (await rig.elsewhere()).worker(knownTo("old", "new"), { pollMs: 20 });
        await rig.expire("delayed", "new");
        expect(await rig.until("new", "succeeded")).to.include({ attempt: 1, result: "new" });
        await watcher.end();
        expect(watcher.types).to.include.members(["requeued", "succeeded"]);
        expect(await rig.queue.counts()).to.include({ failed: 0 });
      });

      it("restarts its unknownKindMs after a worker that knows the kind", async () => {
        await rig.queue.enqueue("new", null, { id: "new" });
        const old = rig.queue.worker(knownTo("old"), { pollMs: 20 });
        await untilBack(1);
        await old.stop();
        await rig.raw.hset(rig.taskKey("new"), "unknownAt", "1");
        const known = (await rig.elsewhere()).worker({ new: rig.hang }, { pollMs: 20 });
        await rig.expire("delayed", "new");
        await rig.until("new", "running");
        await known.stop({ graceMs: 0 });
        expect(await rig.raw.hget(rig.taskKey("new"), "unknownAt")).to.equal(null);
      });

      it("is retried with growing delays and fails after unknownKindMs", async () => {
        await rig.queue.enqueue("new", null, { id: "new" });
        const met = (agoMs: number): Promise<number> =>
          rig.raw.hset(rig.taskKey("new"), "unknownAt", String(Date.now() - agoMs));
        rig.queue.worker(knownTo("old"), { pollMs: 20 });
        await untilBack(1);
        await met(20_000);
        await rig.expire("delayed", "new");
        expect(await untilBack(2)).to.be.within(15_000, 25_000);
        await met(600_000);
        await rig.expire("delayed", "new");
        expect(await untilBack(3)).to.be.within(25_000, 30_000);
        await met(3_600_000);
        await rig.expire("delayed", "new");
        expect(await rig.until("new", "failed")).to.include({ attempt: 1, message: MESSAGE });
        expect((await rig.queue.deadLetters.list()).tasks[0]).to.include({ id: "new" });
        expect(await rig.queue.deadLetters.requeue("new")).to.equal(1);
        await untilBack(4);
      });
    });

    it("starts a new task at once when it is idle, from any service", async () => {
      const other = await rig.elsewhere();
      const started: string[] = [];
      rig.queue.worker(({ task }) => void started.push(task.id), { pollMs: 5_000 });
      await untilIdle(rig.sse);
      await rig.queue.enqueue("kind", null, { id: "own" });
      await eventually(() => expect(started).to.deep.equal(["own"]), 1_500);
      await untilIdle(rig.sse);
      await other.enqueue("kind", null, { id: "foreign" });
      await eventually(() => expect(started).to.deep.equal(["own", "foreign"]), 1_500);
    });

    it("polls after pollMs and finds a task without a message", async () => {
      const clock = new FakeClock();
      const patient = await rig.service({ clock });
      let started = 0;
      await rig.queue.enqueue("kind", null, { id: "untold" });
      await rig.raw.zrem(rig.key("ready"), "untold");
      patient.queue(rig.name).worker(() => void started++, { pollMs: 4_000 });
      await untilIdle(patient);
      await rig.raw.zadd(rig.key("ready"), 1, "untold");
      clock.advance(3_999);
      await untilIdle(patient);
      expect(started).to.equal(0);
      clock.advance(1);
      await eventually(() => expect(started).to.equal(1));
    });

    it("starts a task that was enqueued before its subscription was acknowledged", async () => {
      const late = await rig.service({ clock: new FakeClock() });
      const acknowledge = holdSubscriptions(late);
      let started = 0;
      late.queue(rig.name).worker(() => void started++);
      await late.pool.commands.ping(); // Now its first claim has been answered.
      await settle();
      await rig.queue.enqueue("kind", null, { id: "unheard" });
      await late.pool.commands.ping();
      await settle();
      expect(started).to.equal(0);
      acknowledge();
      await eventually(() => expect(started).to.equal(1));
    });

    it("passes errors of the handler except TaskFailure to onError, and continues if onError throws", async () => {
      const mishap = new TypeError("the real reason");
      const told: [unknown, string][] = [];
      await rig.queue.enqueue("mishap", null, { id: "mishap", attempts: 1 });
      await rig.queue.enqueue("verdict", null, { id: "verdict" });
      rig.queue.worker(
        ({ task }) => {
          throw task.kind === "mishap" ? mishap : new TaskFailure("out of paper");
        },
        {
          onError: (error, task) => {
            told.push([error, task.id]);
            throw new Error("onError itself");
          },
        },
      );
      await rig.until("verdict", "failed");
      await rig.until("mishap", "failed");
      expect(told).to.deep.equal([[mishap, "mishap"]]);
    });
  });
}
