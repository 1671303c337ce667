import { expect } from "chai";

import { TaskFailure } from "../../../lib/index.js";
import { deferred, eventually } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { expectFault } from "../../support/service.js";

const quiet = { onError() {} };

/** Tests tasks whose handlers throw, hang or return an invalid result. */
export function describeRetries(rig: QueueRig): void {
  describe("failing task", () => {
    const boom = (): never => {
      throw new Error("connect ECONNREFUSED db.internal user=root password=hunter2");
    };

    it("has three attempts by default and can succeed at the last one", async () => {
      const queue = await rig.elsewhere({ backoff: 0 });
      const { id } = await queue.enqueue("kind", null);
      queue.worker(({ attempt }) => (attempt < 3 ? boom() : attempt), quiet);
      expect(await rig.until(id, "succeeded")).to.include({ attempt: 3, result: 3, message: "done" });
      expect((await rig.queue.counts()).totals).to.include({ retried: 2, succeeded: 1, failed: 0 });
      expect(queue.statistics).to.include({ started: 3, retried: 2, succeeded: 1, failed: 0 });
    });

    it("becomes a dead letter after the attempts of its queue or its own attempts", async () => {
      const queue = await rig.elsewhere({ attempts: 2, backoff: 0 });
      const { id } = await queue.enqueue("kind", null);
      const own = await queue.enqueue("kind", null, { attempts: 4 });
      let begun = 0;
      queue.worker(() => (begun++, boom()), quiet);
      expect(await rig.until(id, "failed")).to.include({ attempt: 2, result: null });
      expect(await rig.until(own.id, "failed")).to.include({ attempt: 4 });
      expect(begun).to.equal(6);
      expect((await rig.queue.counts()).totals).to.include({ retried: 4, failed: 2 });
    });

    it("keeps the options of the queue that enqueued it, even on a worker with other options", async () => {
      const here = await rig.elsewhere({ attempts: 2, backoff: 0, timeoutMs: 60_000, resultTtlMs: 60_000 });
      const there = await rig.elsewhere({ attempts: 5, backoff: 3_600_000, timeoutMs: 10, resultTtlMs: 1 });
      const failing = await here.enqueue("kind", "fails");
      const [fine] = await here.enqueueMany([
        { kind: "kind", payload: "fine", options: { attempts: undefined } },
      ]);
      const stored = await rig.raw.hget(rig.taskKey(fine!.id), "options");
      expect(JSON.parse(stored!)).to.include({ timeoutMs: 60_000 });
      const own = await here.enqueue("kind", "fails", { attempts: 1 });
      await here.schedule("soon", { everyMs: 3_600_000 }, "kind", "fails");
      await rig.expire("due", "soon");
      there.worker(({ task }) => (task.payload === "fine" ? "good" : boom()), { ...quiet, pollMs: 20 });
      expect(await rig.until(failing.id, "failed")).to.include({ attempt: 2 });
      expect(await rig.until(own.id, "failed")).to.include({ attempt: 1 });
      expect(await rig.until(fine!.id, "succeeded")).to.include({ result: "good" });
      await eventually(async () => {
        const { tasks } = await rig.queue.list("failed");
        expect(tasks.map(({ attempt }) => attempt)).to.have.members([2, 1, 2]);
      });
      expect(await rig.raw.pttl(rig.taskKey(fine!.id))).to.be.within(30_000, 60_000);
    });

    it("is `delayed` for its backoff", async () => {
      const { id } = await rig.queue.enqueue("kind", null, {
        backoff: { type: "exponential", delayMs: 60_000, jitter: 0 },
      });
      rig.queue.worker(boom, quiet);
      for (const [attempt, expected] of [
        [1, 60_000],
        [2, 120_000],
      ] as const) {
        const waiting = await eventually(async () => {
          const task = await rig.queue.get(id);
          expect(task).to.include({ status: "delayed", attempt });
          return task!;
        });
        expect(Date.parse(waiting.runAt!) - Date.now()).to.be.within(expected - 5_000, expected);
        expect(waiting).to.include({ message: "failed", finishedAt: null });
        await rig.expire("delayed", id);
        await rig.queue.enqueue("kind", null, { attempts: 1 }); // Wakes the worker.
      }
      await rig.until(id, "failed");
    });

    it("fails at the first attempt with the message of a TaskFailure and keeps its progress", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      rig.queue.worker(async ({ progress }) => {
        await progress(30);
        throw new TaskFailure("page 3 is missing");
      });
      expect(await rig.until(id, "failed")).to.include({
        message: "page 3 is missing",
        progress: 30,
        result: null,
        attempt: 1,
      });
    });

    it("is retried after a TaskFailure with retry: true and has its message", async () => {
      const { id } = await rig.queue.enqueue("kind", null, { attempts: 2, backoff: 0 });
      rig.queue.worker(({ attempt }) => {
        throw new TaskFailure(`busy ${attempt}`, { retry: true });
      });
      expect(await rig.until(id, "failed")).to.include({ message: "busy 2", attempt: 2 });
    });

    it("does not show any other error to clients or in the task", async () => {
      await rig.queue.enqueue("kind", null, { id: "secretive", attempts: 2, backoff: 0 });
      const watcher = await rig.watch("secretive");
      rig.queue.worker(boom, quiet);
      expect(await rig.until("secretive", "failed")).to.include({ message: "failed" });
      await watcher.end();
      expect(watcher.types).to.deep.equal(["queued", "started", "retry", "started", "failed"]);
      const shown = [
        watcher.sink.text,
        JSON.stringify(await rig.queue.get("secretive")),
        JSON.stringify(await rig.queue.list("failed")),
        JSON.stringify(await rig.sse.task("secretive")),
      ];
      for (const text of shown) expect(text).to.not.match(/hunter2|db\.internal/);
    });

    for (const [what, result] of [
      ["a BigInt", 1n],
      ["more than the limit", "x".repeat(256 * 1024)],
    ] as const) {
      it(`fails if its result is ${what}, tells onError, and its worker continues`, async () => {
        const told: unknown[] = [];
        await rig.queue.enqueue("kind", null, { id: "bad", attempts: 1 });
        await rig.queue.enqueue("kind", null, { id: "good" });
        rig.queue.worker(({ task }) => (task.id === "bad" ? result : "fine"), {
          onError: (error) => told.push(error),
        });
        await rig.until("good", "succeeded");
        expect(await rig.until("bad", "failed")).to.include({
          message: "the result could not be stored",
          result: null,
        });
        expect(told).to.have.length(1);
      });
    }
  });

  describe("timeoutMs", () => {
    it("ends an attempt, aborts its signal with TIMEOUT, and ignores its later result", async () => {
      const clock = new FakeClock();
      const queue = (await rig.service({ clock })).queue(rig.name, { timeoutMs: 1_000, attempts: 1 });
      const { id } = await queue.enqueue("kind", null);
      const late = deferred<string>();
      const reasons: unknown[] = [];
      const told: unknown[] = [];
      const worker = queue.worker(
        ({ signal }) => {
          signal.addEventListener("abort", () => reasons.push(signal.reason));
          return late.promise;
        },
        { onError: (error) => told.push(error) },
      );
      await eventually(() => expect(worker.running).to.equal(1));
      clock.advance(999);
      await rig.until(id, "running");
      expect(reasons).to.deep.equal([]);
      clock.advance(1);
      expect(await rig.until(id, "failed")).to.include({ message: "timed out", attempt: 1 });
      expectFault(reasons[0], "TIMEOUT");
      expect(told, "onError").to.deep.equal(reasons);
      late.resolve("too late");
      await eventually(() => expect(worker.running).to.equal(0));
      expect(await rig.queue.get(id)).to.include({ status: "failed", result: null });
      expect(queue.statistics).to.include({ failed: 1, refused: 0, succeeded: 0 });
    });

    it("calls onError once, even if the handler throws when its signal aborts", async () => {
      const queue = await rig.elsewhere({ timeoutMs: 20, attempts: 1 });
      const { id } = await queue.enqueue("kind", null);
      const told: unknown[] = [];
      const thrown = deferred();
      const worker = queue.worker(
        async ({ signal }) => {
          await new Promise((resolve) => signal.addEventListener("abort", resolve));
          thrown.resolve();
          throw signal.reason;
        },
        { onError: (error) => told.push(error) },
      );
      await thrown.promise;
      await rig.until(id, "failed");
      await worker.stop();
      expect(told).to.have.length(1);
    });

    it("can be set per task and applies to each attempt separately", async () => {
      const queue = await rig.elsewhere({ timeoutMs: 60_000, backoff: 0 });
      const { id } = await queue.enqueue("kind", null, { timeoutMs: 20, attempts: 2 });
      const attempts: number[] = [];
      queue.worker(({ attempt, signal }) => {
        attempts.push(attempt);
        return new Promise((_, reject) =>
          signal.addEventListener("abort", () => reject(signal.reason as Error)),
        );
      }, quiet);
      expect(await rig.until(id, "failed")).to.include({ message: "timed out", attempt: 2 });
      expect(attempts).to.deep.equal([1, 2]);
    });
  });
}
