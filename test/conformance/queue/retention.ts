import { expect } from "chai";

import { ConfigError, type QueueOptions, type QueueService, type TaskContext } from "../../../lib/index.js";
import { eventually } from "../../support/eventually.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { faultOf } from "../../support/service.js";

const HOUR_MS = 3_600_000;
const quiet = { onError() {} };

/** Tests how long and how many ended tasks are kept. */
export function describeRetention(rig: QueueRig): void {
  describe("ended task", () => {
    const meta = (): string => `sse:queue:{tasks}:${rig.name}`;
    const leftMs = (id: string): Promise<number> => rig.raw.pttl(rig.taskKey(id));

    for (const [what, options, resultTtlMs, deadLetterTtlMs] of [
      ["for a day, or for a week as a dead letter", {}, 24 * HOUR_MS, 168 * HOUR_MS],
      [
        "for the time that its queue sets",
        { resultTtlMs: 60_000, deadLetterTtlMs: 120_000 },
        60_000,
        120_000,
      ],
    ] as const) {
      it(`is kept ${what}, or for its own resultTtlMs`, async () => {
        const queue = await rig.elsewhere(options);
        const kept = { done: resultTtlMs, cancelled: resultTtlMs, failed: deadLetterTtlMs, own: 30_000 };
        for (const id of Object.keys(kept)) {
          await queue.enqueue("kind", null, {
            id,
            attempts: 1,
            ...(id === "own" && { resultTtlMs: 30_000 }),
          });
          expect(await leftMs(id)).to.equal(-1);
        }
        await queue.cancel("cancelled");
        queue.worker(({ task }) => (task.id === "failed" ? Promise.reject(new Error("no")) : null), quiet);
        for (const id of ["done", "own"]) await rig.until(id, "succeeded");
        await rig.until("failed", "failed");
        for (const [id, ms] of Object.entries(kept))
          expect(await leftMs(id), id).to.be.within(ms - 20_000, ms);
      });
    }

    it("is removed after resultTtlMs, and its id is free again", async () => {
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

    it("is removed early with its log if more than maxResults tasks have ended, oldest first", async () => {
      const queue = await rig.elsewhere({ maxResults: 5 });
      const ids = Array.from({ length: 12 }, (_, index) => `t${String(index).padStart(2, "0")}`);
      for (const id of ids) {
        await queue.enqueue("kind", null, { id });
        await queue.publishProgress(id, { progress: 1 }); // Creates a log for each task.
      }
      queue.worker(() => {});
      await rig.until("t11", "succeeded");
      const left = await rig.members("succeeded");
      expect(left).to.have.length(5);
      const kept = await Promise.all(ids.map(async (id) => ((await queue.get(id)) === null ? [] : [id])));
      expect(kept.flat().toSorted()).to.deep.equal(left.toSorted());
      expect((await rig.raw.keys("sse:log:{tasks}:task_progress:*")).length).to.equal(5);
      expect((await queue.counts()).totals.succeeded).to.equal(12);
    });

    const release = (id: string, bytes: number, options = {}): Promise<unknown> =>
      rig.queue.enqueue("kind", "x".repeat(bytes - 2), { id, ...options });
    const sizeOf = async (state: string): Promise<number> =>
      Number(await rig.raw.hget(meta(), `bytes:${state}`));
    const ended = async (queue: QueueService, ids: readonly string[]): Promise<void> => {
      for (const id of ids)
        await eventually(async () => expect(await queue.get(id)).to.include({ status: "succeeded" }));
    };

    it("keeps a payload of up to results.maxPayloadBytes and releases a larger one unless the task failed", async () => {
      const queue = await rig.elsewhere({ results: { maxPayloadBytes: 100 }, attempts: 1 });
      for (const id of ["small", "large", "dead", "stopped"]) await release(id, id === "small" ? 100 : 101);
      await queue.cancel("stopped");
      const seen: unknown[] = [];
      const handler = ({ task }: TaskContext): string => {
        seen.push(String(task.payload).length);
        if (task.id === "dead") throw new Error("no");
        return "done";
      };
      queue.worker(handler, quiet);
      await rig.until("dead", "failed");
      await ended(queue, ["small", "large"]);
      expect(seen).to.deep.equal([98, 99, 99]);
      expect(await queue.get("small")).to.include({ payload: "x".repeat(98), result: "done" });
      expect(await queue.get("large")).to.include({ payload: null, result: "done" });
      expect(await queue.get("stopped")).to.include({ payload: null });
      expect(await queue.get("dead")).to.include({ payload: "x".repeat(99) });
      expect(await queue.deadLetters.requeue("dead")).to.equal(1);
      await rig.until("dead", "failed");
      for (const id of ["large", "stopped"]) {
        expect(await faultOf(queue.deadLetters.requeue(["dead", id]))).to.include({
          code: "PAYLOAD_RELEASED",
        });
      }
      expect(await rig.queue.get("dead"), "no task was requeued").to.include({ status: "failed" });
    });

    it("is removed early if all ended tasks exceed results.maxBytes, oldest first", async () => {
      const queue = await rig.elsewhere({ results: { maxBytes: 20_000 } });
      queue.worker(() => "x".repeat(1_500));
      for (let index = 0; index < 30; index++) {
        const id = `t${String(index).padStart(2, "0")}`;
        await queue.enqueue("kind", null, { id });
        await ended(queue, [id]);
      }
      const left = await rig.members("succeeded");
      expect(left.length).to.be.within(8, 11);
      expect(left.at(-1)).to.equal("t29");
      expect(await queue.get("t00")).to.equal(null);
      expect(await sizeOf("succeeded")).to.be.within(left.length * 1_800, 20_000);
      expect((await queue.counts()).totals.succeeded).to.equal(30);
    });

    it("is kept at its end even if the byte count is stale or other tasks are kept longer", async () => {
      const bounds = { results: { maxBytes: 100_000 } };
      const queue = await rig.elsewhere(bounds);
      queue.worker(() => "x".repeat(50_000));
      // The set has expired with its tasks, but the byte count has not been updated.
      await rig.raw.hset(meta(), "bytes:succeeded", "90000", "sweptAt", String(Date.now()));
      await queue.enqueue("kind", null, { id: "first" });
      await rig.until("first", "succeeded");
      await queue.enqueue("kind", null, { id: "long" });
      await rig.until("long", "succeeded");
      await queue.enqueue("kind", null, { id: "short", resultTtlMs: HOUR_MS });
      await rig.until("short", "succeeded");
      expect(await queue.get("first")).to.equal(null);
    });

    it("counts the bytes of its progress data, but not of earlier errors", async () => {
      const queue = await rig.elsewhere();
      let attempts = 0;
      queue.worker(async (context) => {
        if (++attempts === 1) throw new Error("x".repeat(2_000));
        await context.progress({ data: { blob: "x".repeat(20_000) } });
      }, quiet);
      await queue.enqueue("kind", null, { id: "told", backoff: 0 });
      await rig.until("told", "succeeded");
      expect(await sizeOf("succeeded")).to.be.within(20_000, 150_000);
      expect(await rig.raw.hget(rig.taskKey("told"), "error")).to.equal(null);
    });

    it("counts its bytes until it is removed, requeued, purged or cleaned", async () => {
      const queue = await rig.elsewhere({ attempts: 1 });
      const worker = queue.worker(
        ({ task }) => (task.kind === "bad" ? Promise.reject(new Error("no")) : "x".repeat(500)),
        quiet,
      );
      for (const id of ["a", "b", "c"]) await queue.enqueue("good", null, { id });
      for (const id of ["d", "e"]) await queue.enqueue("bad", null, { id });
      await ended(queue, ["a", "b", "c"]);
      for (const id of ["d", "e"]) await rig.until(id, "failed");
      await worker.stop();
      const one = (await sizeOf("succeeded")) / 3;
      expect(one).to.be.within(850, 1_000);
      await queue.remove("a");
      expect(await sizeOf("succeeded")).to.equal(2 * one);
      expect(await queue.clean({ state: "succeeded" })).to.equal(2);
      expect(await sizeOf("succeeded")).to.equal(0);
      expect(await sizeOf("failed")).to.be.greaterThan(0);
      await queue.deadLetters.requeue("d");
      await queue.deadLetters.purge("e");
      expect(await sizeOf("failed")).to.equal(0);
    });

    it("is counted again by a worker once a minute if the byte count is wrong", async () => {
      await rig.queue.enqueue("kind", null, { id: "a" });
      await rig.queue.cancel("a");
      const right = await sizeOf("cancelled");
      for (const wrong of ["-5", "999999999", "text"]) {
        await rig.raw.hset(meta(), "bytes:cancelled", wrong);
        await rig.raw.hdel(meta(), "sweptAt");
        const worker = rig.queue.worker(() => {});
        await eventually(async () => expect(await sizeOf("cancelled")).to.equal(right));
        await worker.stop();
      }
    });

    it("leaves no id behind when it expires, even if no other task ends", async () => {
      await rig.queue.enqueue("kind", null, { id: "kept" });
      await rig.queue.cancel("kept");
      for (let index = 0; index < 20_000; index += 5_000) {
        const members = Array.from({ length: 5_000 }, (_, at) => [
          1_000 + at,
          `expired-${index + at}`,
        ]).flat();
        await rig.raw.zadd(rig.key("cancelled"), ...(members as string[]));
      }
      await rig.raw.hdel(meta(), "sweptAt");
      rig.queue.worker(() => {}, { pollMs: 5 });
      await eventually(async () => expect(await rig.members("cancelled")).to.deep.equal(["kept"]), 15_000);
      expect(await rig.raw.pttl(rig.key("cancelled"))).to.be.greaterThan(0);
    });

    for (const isRecorded of [true, false]) {
      it(`is in a set that expires soon after its last task (${isRecorded ? "time recorded" : "time not recorded"})`, async () => {
        await rig.queue.enqueue("kind", null, { id: "long", resultTtlMs: 2 * HOUR_MS });
        await rig.queue.enqueue("kind", null, { id: "short", resultTtlMs: 1_000 });
        await rig.queue.cancel("long");
        if (!isRecorded) await rig.raw.hdel(meta(), "until:cancelled");
        await rig.queue.cancel("short");
        expect(await rig.raw.pttl(rig.key("cancelled"))).to.be.within(1.9 * HOUR_MS, 2 * HOUR_MS + 62_000);
      });
    }

    it("is removed by clean() if it ended before olderThanMs, oldest first", async () => {
      const { queue } = rig;
      for (const id of ["a", "b", "c", "d"]) {
        await queue.enqueue("kind", null, { id });
        await queue.cancel(id);
      }
      for (const id of ["a", "b"]) {
        await rig.raw.hset(rig.taskKey(id), "finishedAt", String(Date.now() - HOUR_MS));
      }
      expect(await queue.clean({ state: "succeeded" })).to.equal(0);
      expect(await queue.clean({ state: "cancelled", olderThanMs: HOUR_MS / 2, limit: 1 })).to.equal(1);
      expect(await queue.clean({ state: "cancelled", olderThanMs: HOUR_MS / 2 })).to.equal(1);
      expect((await rig.members("cancelled")).toSorted()).to.deep.equal(["c", "d"]);
      expect(await queue.get("a")).to.equal(null);
      expect(await queue.clean({ state: "cancelled" })).to.equal(2);
      for (const bad of [
        {},
        { state: "queued" },
        { state: "failed", limit: 0 },
        { state: "failed", older: 1 },
      ]) {
        expect(await faultOf(queue.clean(bad as never))).to.include({ code: "CONFIG" });
      }
    });

    it("is deleted with its whole queue by obliterate(), which needs force while a task is running", async () => {
      const { queue, raw } = rig;
      const other = rig.sse.queue(`${rig.name}-other`);
      await other.enqueue("kind", null, { id: "other" });
      await queue.enqueue("kind", null, { id: "running" });
      const { end, worker } = await rig.takeAndVanish();
      await queue.enqueueMany(Array.from({ length: 450 }, () => ({ kind: "kind", payload: null })));
      await queue.enqueue("kind", null, { id: "delayed", delayMs: HOUR_MS, deduplicate: "key" });
      await queue.enqueue("kind", null, { id: "cancelled" });
      await queue.cancel("cancelled");
      await queue.schedule("tick", { everyMs: HOUR_MS }, "kind", null);
      expect(await faultOf(queue.obliterate())).to.include({ code: "TASK_RUNNING" });
      expect(await queue.counts()).to.include({ queued: 450, paused: false });
      await queue.obliterate({ force: true });
      end("late");
      await eventually(() => expect(worker.running).to.equal(0));
      expect(await queue.counts()).to.include({
        queued: 0,
        delayed: 0,
        running: 0,
        cancelled: 0,
        succeeded: 0,
      });
      expect(await queue.schedules()).to.deep.equal([]);
      expect(await raw.keys("sse:task:*")).to.deep.equal(["sse:task:{tasks}:other"]);
      await queue.enqueue("kind", null, { id: "next", deduplicate: "key" });
      queue.worker(() => "done");
      await rig.until("next", "succeeded");
    });

    it("has limits with two option names, whose values must agree", async () => {
      const make = (options: QueueOptions): unknown => rig.sse.queue(`${rig.name}-${Math.random()}`, options);
      make({ results: { ttlMs: 5, maxCount: 6 }, resultTtlMs: 5, maxResults: 6 });
      expect(() => make({ results: { ttlMs: 5 }, resultTtlMs: 6 })).to.throw(ConfigError, /resultTtlMs/);
      expect(() => make({ results: { maxCount: 5 }, maxResults: 6 })).to.throw(ConfigError, /maxResults/);
      const queue = rig.sse.queue(`${rig.name}-named`, { results: { ttlMs: 60_000 } });
      await queue.enqueue("kind", null, { id: "named" });
      await queue.cancel("named");
      expect(await leftMs("named")).to.be.within(50_000, 60_000);
    });
  });
}
