import { expect } from "chai";

import { eventually } from "../../support/eventually.js";
import type { QueueRig, TaskWatcher } from "../../support/queue-rig.js";
import { untilIdle } from "../../support/service.js";

/** Tests which events clients get that watch a task from any point in time. */
export function describeTaskStream(rig: QueueRig): void {
  describe("client that watches a task", () => {
    const STORY = ["queued", "started", "progress", "succeeded"];

    const logKeys = (): Promise<string[]> => rig.raw.keys("sse:*:{tasks}:task_progress:*");

    /** Expects events of these types with consecutive numbers. */
    function expectStory(watcher: TaskWatcher, types: readonly string[]): void {
      expect(watcher.types).to.deep.equal(types);
      expect(watcher.told.map(({ seq }) => seq)).to.deep.equal(types.map((_, index) => index + 1));
      expect(watcher.gaps).to.deep.equal([]);
    }

    it("gets the end if the task is removed, alone or with its queue", async () => {
      for (const remove of [
        () => rig.queue.remove("gone"),
        () => rig.queue.obliterate({ force: true }),
      ] as const) {
        await rig.queue.enqueue("kind", null, { id: "gone" });
        const watcher = await rig.watch("gone");
        await watcher.next("queued");
        await remove();
        await watcher.end();
        expectStory(watcher, ["queued", "cancelled"]);
        expect(await rig.queue.get("gone")).to.equal(null);
      }
    });

    it("gets all events in order and once, at any time and from any process", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      const elsewhere = await rig.service();
      const early = [await rig.watch(id), await rig.watch(id), await rig.watch(id, undefined, elsewhere)];
      for (const watcher of early) await watcher.next("queued");
      const { context, end } = await rig.takeAndVanish();
      await context.progress(50, "half");
      const late = await rig.watch(id);
      await late.next("progress");
      end("result");
      const after = [late];
      await rig.until(id, "succeeded");
      after.push(await rig.watch(id), await rig.watch(id, undefined, elsewhere));
      for (const watcher of [...early, ...after]) {
        await watcher.end();
        expectStory(watcher, STORY);
      }
    });

    it("is needed for a log: a task without clients and output has none", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      rig.queue.worker(() => {});
      await rig.until(id, "succeeded");
      expect(await logKeys()).to.deep.equal([]);
      expect((await rig.sse.task(id))!.seq).to.equal(3);
    });

    it("gets `queued` if it connects before the start", async () => {
      for (const options of [{}, { delayMs: 60_000 }]) {
        const task = await rig.queue.enqueue("kind", null, options);
        const watcher = await rig.watch(task.id);
        await watcher.next("queued");
        expectStory(watcher, ["queued"]);
        expect(watcher.told[0]).to.include({ status: task.status, attempt: 0 });
        expect((await rig.sse.task(task.id))!.seq).to.equal(1);
      }
    });

    it("gets `queued` and `started` if it connects while the task is running", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      const { end } = await rig.takeAndVanish();
      expect(await logKeys()).to.deep.equal([]);
      const watcher = await rig.watch(id);
      await watcher.next("started");
      end(1);
      await watcher.end();
      expectStory(watcher, ["queued", "started", "succeeded"]);
    });

    for (const [end, finish] of [
      ["succeeded", () => rig.queue.worker(() => 1)],
      ["failed", () => rig.queue.worker(() => Promise.reject(new Error("no")), { onError() {} })],
      ["cancelled", () => {}],
    ] as const) {
      it(`gets all events if it connects after the task is ${end}`, async () => {
        const { id } = await rig.queue.enqueue("kind", null, { attempts: 1 });
        finish();
        if (end === "cancelled") await rig.queue.cancel(id, "no more");
        const task = await rig.until(id, end);
        expect(await logKeys()).to.deep.equal([]);
        const watchers = await Promise.all([rig.watch(id), rig.watch(id)]);
        for (const watcher of watchers) {
          await watcher.end();
          expectStory(watcher, end === "cancelled" ? ["queued", end] : ["queued", "started", end]);
          expect(watcher.told.at(-1)).to.include({
            status: end,
            message: task.message,
            attempt: task.attempt,
          });
        }
        expect((await rig.watch(id, watchers[0].lastId)).answered).to.equal(204);
        // The log expires with the task.
        const left = await rig.raw.pttl(rig.taskKey(id));
        for (const key of await logKeys()) expect(await rig.raw.pttl(key)).to.be.within(1, left + 1_000);
      });
    }

    it("gets `retry` if it connects after a retry", async () => {
      const { id } = await rig.queue.enqueue("kind", null, { attempts: 2, backoff: 60_000 });
      rig.queue.worker(() => Promise.reject(new Error("no")), { onError() {} });
      await rig.until(id, "delayed");
      const watcher = await rig.watch(id);
      await watcher.next("retry");
      expect(watcher.told.at(-1)).to.include({ status: "delayed", message: "failed", attempt: 1 });
      await rig.expire("delayed", id);
      await rig.queue.enqueue("kind", null, { attempts: 1 }); // Wakes the worker.
      await watcher.end();
      expectStory(watcher, ["queued", "started", "retry", "started", "failed"]);
    });

    it("gets `requeued` if it connects after the task was given back", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      const first = rig.queue.worker(rig.hang);
      await rig.until(id, "running");
      await first.stop({ graceMs: 0 });
      const watcher = await rig.watch(id);
      await watcher.next("requeued");
      rig.queue.worker(() => {});
      await watcher.end();
      expectStory(watcher, ["queued", "started", "requeued", "started", "succeeded"]);
      expect(watcher.told.map(({ attempt }) => attempt)).to.deep.equal([0, 1, 0, 1, 1]);
    });

    it("gets all events if it connects before the task is enqueued", async () => {
      const elsewhere = await rig.service();
      const early = [await rig.watch("awaited"), await rig.watch("awaited", undefined, elsewhere)];
      await rig.queue.enqueue("kind", null, { id: "awaited" });
      for (const watcher of early) await watcher.next("queued");
      rig.queue.worker(({ progress }) => progress(50));
      for (const watcher of early) {
        await watcher.end();
        expectStory(watcher, STORY);
      }
    });

    it("gets only the events of the new task if its id was used before", async () => {
      await rig.queue.enqueue("kind", null, { id: "again", resultTtlMs: 60_000 });
      const worker = rig.queue.worker(() => {});
      const first = await rig.watch("again");
      await first.end();
      await worker.stop();
      await rig.raw.del(rig.taskKey("again"));
      await rig.queue.enqueue("kind", null, { id: "again" });
      const watcher = await rig.watch("again");
      await watcher.next("queued");
      rig.queue.worker(() => {});
      await watcher.end();
      expectStory(watcher, ["queued", "started", "succeeded"]);
    });

    it("gets the new run of a requeued task, even if other streams of the process have its channel", async () => {
      const { id } = await rig.queue.enqueue("kind", null, { attempts: 1 });
      const elsewhere = await rig.service();
      const others = [await rig.watch(id), await rig.watch(id, undefined, elsewhere)];
      for (const other of others) await other.session.addChannel("another");
      const worker = rig.queue.worker(() => Promise.reject(new Error("no")), { onError() {} });
      for (const other of others) await other.next("failed");
      const oldEnd = others[0]!.events.at(-1)!.id;
      // Now each process knows the end of the log.
      for (const sse of [rig.sse, elsewhere]) await (await rig.watch(id, undefined, sse)).end();
      await worker.stop();
      await rig.queue.deadLetters.requeue(id);
      const viewers = [await rig.watch(id), await rig.watch(id, undefined, elsewhere)];
      for (const viewer of viewers) await viewer.next("queued");
      rig.queue.worker(() => {});
      for (const viewer of viewers) {
        await viewer.end();
        expectStory(viewer, ["queued", "started", "succeeded"]);
      }
      // A client that saw the old end gets a gap and the new run, not 204.
      const returned = await rig.watch(id, oldEnd);
      await returned.end();
      expect(returned.gaps).to.have.length(1);
      const runs = ["queued", "started", "failed", "queued", "started", "succeeded"];
      for (const other of others) {
        await eventually(() => expect(other.types).to.deep.equal(runs));
        expect(other.gaps).to.deep.equal([]);
        await other.session.close();
      }
    });

    it("gets a unique epoch for each log, even if one script starts many logs", async () => {
      const ids = Array.from({ length: 20 }, (_, index) => `many-${index}`);
      const watchers = await Promise.all(ids.map((id) => rig.watch(id)));
      await rig.queue.enqueueMany(ids.map((id) => ({ kind: "kind", payload: null, options: { id } })));
      for (const watcher of watchers) await watcher.next("queued");
      const epochs = await Promise.all(
        ids.map((id) => rig.raw.hget(`sse:pos:{tasks}:task_progress:${id}`, "e")),
      );
      expect(new Set(epochs).size).to.equal(ids.length);
      for (const epoch of epochs) expect(epoch).to.match(/^[0-9a-f]{8}$/);
      for (const watcher of watchers) await watcher.session.close();
    });

    it("gets a gap and the end after another program has damaged the log", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      const watcher = await rig.watch(id);
      await watcher.next("queued");
      await rig.raw.hset(`sse:pos:{tasks}:task_progress:${id}`, "e", "xyz");
      rig.queue.worker(() => {});
      await rig.until(id, "succeeded");
      await watcher.end();
      expect(watcher.types.at(-1)).to.equal("succeeded");
      expect(watcher.gaps).to.have.length(1);
      expect((await rig.sse.task(id))!.task.status).to.equal("succeeded");
    });

    for (const [what, history] of [
      ["for all channels", false],
      ["for tasks", { channels: { "task_progress:*": false } }],
    ] as const) {
      it(`gets each event once, live, if history is off ${what}`, async () => {
        const service = await rig.service({ history });
        const queue = service.queue(rig.name, { progressMs: 0, backoff: 0 });
        const heard = await rig.hear("live");
        const watcher = await rig.watch("live", undefined, service);
        await queue.enqueue("kind", null, { id: "live" });
        await queue.enqueue("kind", null);
        queue.worker(
          async ({ progress, write, attempt }) => {
            await progress(50);
            await write("a chunk");
            if (attempt === 1) throw new Error("no");
          },
          { onError() {} },
        );
        await watcher.next("succeeded");
        const types = ["queued", "started", "progress", "retry", "started", "progress", "succeeded"];
        expect(watcher.types).to.deep.equal(types);
        expect(watcher.dataOf("chunk")).to.deep.equal(["a chunk", "a chunk"]);
        expect(new Set(watcher.told.map(({ seq }) => seq))).to.deep.equal(new Set([0]));
        await eventually(() => expect(heard.messages).to.have.length(types.length + 2));
        expect(await logKeys()).to.deep.equal([]);
        await watcher.session.close();
        await untilIdle(service);
      });
    }

    it("can use the state and the seq of task() and then only the later events", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      const { context, end } = await rig.takeAndVanish();
      expect((await rig.sse.task(id))!.seq).to.equal(2);
      await context.progress(10);
      const { task, seq } = (await rig.sse.task(id))!;
      expect(task).to.include({ progress: 10, status: "running" });
      expect(seq).to.equal(3);
      const watcher = await rig.watch(id);
      end(null);
      await watcher.end();
      expect(watcher.told.filter((event) => event.seq > seq).map(({ type }) => type)).to.deep.equal([
        "succeeded",
      ]);
      await eventually(async () => expect((await rig.sse.task(id))!.seq).to.equal(4));
    });
  });
}
