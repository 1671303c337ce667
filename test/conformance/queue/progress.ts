import { expect } from "chai";
import { stub } from "sinon";

import type { TaskContext } from "../../../lib/index.js";
import { deferred, eventually } from "../../support/eventually.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { circular, expectFault, faultOf } from "../../support/service.js";

/** Tests progress that a handler or another process reports. */
export function describeProgress(rig: QueueRig): void {
  describe("progress", () => {
    it("is published as JSON on task_progress:{taskId}, and the last event has the final status", async () => {
      const queue = await rig.elsewhere({ progressMs: 0 });
      await queue.enqueue("kind", null, { id: "told" });
      const watcher = await rig.watch("told");
      const message = 'half of a "quarter"\n\\\u0001é\u2028';
      queue.worker(async ({ progress }) => {
        await progress(0);
        await progress(12.5, message);
      });
      await watcher.end();
      const rest = { taskId: "told", attempt: 1 };
      expect(watcher.told).to.deep.equal([
        { taskId: "told", progress: 0, message: "", status: "queued", type: "queued", attempt: 0, seq: 1 },
        { ...rest, progress: 0, message: "", status: "running", type: "started", seq: 2 },
        { ...rest, progress: 0, message: "", status: "running", type: "progress", seq: 3 },
        { ...rest, progress: 12.5, message, status: "running", type: "progress", seq: 4 },
        { ...rest, progress: 100, message: "done", status: "succeeded", type: "succeeded", seq: 5 },
      ]);
    });

    it("may be any object, which is published and stored as data next to the number", async () => {
      const queue = await rig.elsewhere({ progressMs: 0 });
      await queue.enqueue("kind", null, { id: "told" });
      const watcher = await rig.watch("told");
      const data = { progress: 40, message: "rows", rows: 7, "{x}": "\u2028\n", list: [null, 1.5] };
      const said = deferred();
      const release = deferred();
      queue.worker(async ({ progress }) => {
        await progress(data);
        await progress({ rows: 8 }); // The number does not change.
        said.resolve();
        await release.promise;
      });
      await said.promise;
      expect(await queue.get("told")).to.deep.include({ progress: 40, message: "", data: { rows: 8 } });
      release.resolve();
      await watcher.end();
      expect(watcher.told.slice(2).map((event) => [event.progress, event.message, event.data])).to.deep.equal(
        [
          [40, "rows", data],
          [40, "", { rows: 8 }],
          [100, "done", undefined],
        ],
      );
      expect((await queue.get("told"))!.data).to.deep.equal({ rows: 8 });
    });

    it("publishes few events for 100,000 calls, including the last one", async () => {
      await rig.queue.enqueue("kind", null, { id: "tight" });
      const watcher = await rig.watch("tight");
      const resolved = deferred();
      const release = deferred();
      rig.queue.worker(async ({ progress }) => {
        let last = Promise.resolve();
        for (let call = 1; call <= 100_000; call++) last = progress(call / 1_000, `call ${call}`);
        await last;
        resolved.resolve();
        await release.promise;
      });
      await resolved.promise;
      await eventually(() => expect(watcher.told.at(-1)!.message).to.equal("call 100000"));
      expect(watcher.told.length).to.be.below(20);
      expect(await rig.queue.get("tight")).to.include({
        progress: 100,
        message: "call 100000",
        status: "running",
      });
      release.resolve();
      await watcher.end();
      expect(watcher.types.at(-1)).to.equal("succeeded");
      expect((await rig.sse.task("tight"))!.seq).to.equal(watcher.told.length);
    });

    it("publishes the last unawaited progress before the end", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      const watcher = await rig.watch(id);
      rig.queue.worker(({ progress }) => {
        for (let percent = 1; percent <= 50; percent++) void progress(percent);
      });
      await watcher.end();
      expect(watcher.told.slice(-2).map(({ type, progress }) => [type, progress])).to.deep.equal([
        ["progress", 50],
        ["succeeded", 100],
      ]);
    });

    it("limits values that are out of range and warns once", async () => {
      const warn = stub(console, "warn");
      try {
        const { id } = await rig.queue.enqueue("a\nkind", null);
        const queue = await rig.elsewhere({ progressMs: 0 });
        const watcher = await rig.watch(id);
        const long = `${"x".repeat(999)}😀`;
        queue.worker(async ({ progress }) => {
          await progress(100.0000001);
          await progress(-1);
          await progress(30);
          await progress({ progress: NaN, message: "kept too" });
          await progress(-Infinity);
          await progress(50, long);
          await progress({ progress: 101, message: "in an object" });
        });
        expect(await rig.until(id, "succeeded")).to.include({ attempt: 1 });
        await watcher.end();
        const told = watcher.told.filter(({ type }) => type === "progress");
        expect(told.map(({ progress, message }) => [progress, message])).to.deep.equal([
          [100, ""],
          [0, ""],
          [30, ""],
          [30, "kept too"],
          [0, ""],
          [50, "x".repeat(999)],
          [100, "in an object"],
        ]);
        expect(warn.callCount).to.equal(1);
        const [message] = warn.firstCall.args as [string];
        expect(message)
          .to.include(`queue ${rig.name}, for tasks of kind "a\\nkind"`)
          .and.include("100.0000001");
      } finally {
        warn.restore();
      }
    });

    it("rejects invalid progress, and the task continues", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      const faults: unknown[] = [];
      rig.queue.worker(async ({ progress }) => {
        for (const given of ["50", undefined, { progress: "50" }, { message: 7 }, circular])
          faults.push(await faultOf(progress(given as never)));
        faults.push(await faultOf(progress(5, 7 as never)));
        faults.push(await faultOf(progress({ rows: "x".repeat(256 * 1024) })));
        await progress(5, "x".repeat(1_000));
      });
      await rig.until(id, "succeeded");
      const codes = faults.map((fault) => (fault as { code: string }).code);
      const invalid = Array.from({ length: 4 }, () => "INVALID_TASK");
      expect(codes).to.deep.equal([...invalid, "UNSERIALIZABLE", "INVALID_TASK", "TASK_TOO_LARGE"]);
    });

    it("ignores progress after the end of a task from publishProgress() and from the handler", async () => {
      await rig.queue.enqueue("kind", null, { id: "ended" });
      const watcher = await rig.watch("ended");
      const began = deferred<TaskContext>();
      rig.queue.worker((context) => began.resolve(context));
      const { progress, write } = await began.promise;
      await rig.until("ended", "succeeded");
      await eventually(() => expect(rig.queue.statistics.running).to.equal(0));
      const before = await rig.queue.get("ended");
      expect(await rig.queue.publishProgress("ended", { progress: 1, message: "late" })).to.equal(false);
      await progress(2, "later");
      expectFault(await faultOf(write("later")), "ABORTED");
      await watcher.end();
      expect(watcher.types).to.deep.equal(["queued", "started", "succeeded"]);
      expect(await rig.queue.get("ended")).to.deep.equal(before);
    });
  });

  describe("publishProgress()", () => {
    it("publishes and stores the progress of a queued task", async () => {
      await rig.queue.enqueue("kind", null, { id: "outside" });
      const watcher = await rig.watch("outside");
      expect(await rig.queue.publishProgress("outside", { progress: 20, message: "by hand" })).to.equal(true);
      await watcher.next("progress");
      expect(watcher.told.at(-1)).to.include({
        taskId: "outside",
        progress: 20,
        status: "queued",
        type: "progress",
      });
      expect(await rig.queue.get("outside")).to.include({
        progress: 20,
        message: "by hand",
        status: "queued",
        attempt: 0,
      });
    });

    it("publishes progress for an unknown id without storing a task", async () => {
      const heard = await rig.hear("elsewhere");
      expect(await rig.queue.publishProgress("elsewhere", { progress: 100 })).to.equal(true);
      await eventually(() => expect(heard.messages).to.have.length(1));
      expect(JSON.parse(heard.messages[0]!)).to.deep.equal({
        taskId: "elsewhere",
        progress: 100,
        message: "",
        status: "running",
        type: "progress",
        attempt: 0,
        seq: 0,
      });
      expect(await rig.queue.get("elsewhere")).to.equal(null);
    });

    for (const [what, report] of [
      ["progress below 0", { progress: -1 }],
      ["progress as a string", { progress: "50" }],
      ["an object without progress", {}],
      ["undefined", undefined],
      ["a number", 50],
      ["a message that is not a string", { progress: 1, message: { html: "<b>" } }],
    ] as const) {
      it(`rejects ${what} as INVALID_TASK and publishes nothing`, async () => {
        const heard = await rig.hear("report");
        const given = report as { progress: number };
        expectFault(await faultOf(rig.queue.publishProgress("report", given)), "INVALID_TASK");
        await heard.sync();
        expect(heard.messages).to.deep.equal([]);
      });
    }
  });
}
