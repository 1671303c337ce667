import { expect } from "chai";

import { deferred, eventually } from "../../support/eventually.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { circular, faultOf } from "../../support/service.js";

/** Tests the output of a handler: chunks and log lines. */
export function describeOutput(rig: QueueRig): void {
  describe("task output", () => {
    it("arrives complete, in order and once, with one event for each awaited chunk", async () => {
      await rig.queue.enqueue("kind", null, { id: "writes" });
      const live = await rig.watch("writes");
      rig.queue.worker(async ({ write, log }) => {
        await write("one\r\ntwo");
        await write({ tokens: 3 });
        await log("a line");
        await write("");
        await write("three");
        await write(null);
        await write(["a", 1]);
      });
      await live.end();
      const late = await rig.watch("writes");
      await late.end();
      for (const watcher of [live, late]) {
        // The SSE format replaces CRLF with LF.
        expect(watcher.dataOf("chunk")).to.deep.equal([
          "one\ntwo",
          '{"tokens":3}',
          "",
          "three",
          "null",
          '["a",1]',
        ]);
        expect(watcher.dataOf("log")).to.deep.equal(["a line"]);
        expect(watcher.events.map(({ event }) => event)).to.deep.equal([
          "message",
          "message",
          "chunk",
          "chunk",
          "log",
          "chunk",
          "chunk",
          "chunk",
          "chunk",
          "message",
        ]);
      }
    });

    it("arrives unchanged if text is split inside a character or a CRLF, also around other events", async () => {
      await rig.queue.enqueue("kind", null, { id: "writes" });
      const live = await rig.watch("writes");
      rig.queue.worker(async ({ write, log, progress }) => {
        await write("one\r");
        await log("a line");
        await write("\ntwo \ud83d");
        await progress(50);
        await write("\ude00\r");
      });
      await live.end();
      const late = await rig.watch("writes");
      await late.end();
      for (const watcher of [live, late]) {
        expect(watcher.dataOf("chunk").join("")).to.equal("one\ntwo 😀\n");
        expect(watcher.dataOf("log")).to.deep.equal(["a line"]);
      }
    });

    it("arrives complete and in order, with joined text, if the handler does not await", async () => {
      await rig.queue.enqueue("kind", null, { id: "writes" });
      const watcher = await rig.watch("writes");
      const words = Array.from({ length: 5_000 }, (_, index) => `word${index} `);
      rig.queue.worker(({ write }) => {
        for (const word of words) void write(word);
      });
      await watcher.end();
      expect(watcher.dataOf("chunk").join("")).to.equal(words.join(""));
      expect(watcher.dataOf("chunk").length).to.be.below(100);
      expect(watcher.types).to.deep.equal(["queued", "started", "succeeded"]);
    });

    it("does not join values that are not text or log lines", async () => {
      await rig.queue.enqueue("kind", null, { id: "writes" });
      const watcher = await rig.watch("writes");
      rig.queue.worker(({ write, log }) => {
        for (let index = 0; index < 250; index++) {
          void write(index);
          void log(`line ${index}`);
        }
      });
      await watcher.end();
      expect(watcher.dataOf("chunk")).to.deep.equal(Array.from({ length: 250 }, (_, index) => String(index)));
      expect(watcher.dataOf("log")).to.deep.equal(Array.from({ length: 250 }, (_, index) => `line ${index}`));
      expect(watcher.gaps).to.deep.equal([]);
    });

    it("rejects with WRITER_OVERFLOW if too much output waits, and loses no accepted output", async () => {
      await rig.queue.enqueue("kind", null, { id: "writes" });
      const watcher = await rig.watch("writes");
      const faults = deferred<unknown[]>();
      const piece = "x".repeat(200_000);
      rig.queue.worker(async ({ write }) => {
        const answers = await Promise.allSettled(Array.from({ length: 8 }, () => write(piece)));
        faults.resolve(answers.flatMap((answer) => (answer.status === "rejected" ? [answer.reason] : [])));
      });
      const codes = (await faults.promise).map((fault) => (fault as { code: string }).code);
      expect(codes).to.deep.equal(["WRITER_OVERFLOW", "WRITER_OVERFLOW", "WRITER_OVERFLOW"]);
      await watcher.end();
      expect(watcher.dataOf("chunk").join("").length).to.equal(1_000_000);
    });

    it("rejects invalid chunks and lines, and the task continues", async () => {
      const { id } = await rig.queue.enqueue("kind", null);
      const faults: unknown[] = [];
      rig.queue.worker(async ({ write, log }) => {
        const attempts = [
          ...[circular, undefined, "x".repeat(256 * 1024 + 1)].map((chunk) => write(chunk)),
          ...[7, "x".repeat(10_001)].map((line) => log(line as string)),
        ];
        for (const attempt of attempts) faults.push(((await faultOf(attempt)) as { code: string }).code);
        await log("x".repeat(10_000));
        await write("x".repeat(256 * 1024));
      });
      await rig.until(id, "succeeded");
      const invalid = ["INVALID_TASK", "INVALID_TASK"];
      expect(faults).to.deep.equal(["UNSERIALIZABLE", "UNSERIALIZABLE", "TASK_TOO_LARGE", ...invalid]);
    });

    it("keeps at most maxReplayEvents events, and a late client gets a gap", async () => {
      const small = await rig.service({ limits: { maxReplayEvents: 20 } });
      const queue = small.queue(rig.name);
      await queue.enqueue("kind", null, { id: "writes" });
      queue.worker(async ({ write }) => {
        for (let index = 0; index < 50; index++) await write(index);
      });
      await rig.until("writes", "succeeded");
      const late = await rig.watch("writes", undefined, small);
      await late.end();
      expect(late.dataOf("chunk").at(-1)).to.equal("49");
      expect(late.dataOf("chunk")).to.have.length(19);
      expect(late.gaps).to.have.length(1);
      expect(late.types).to.deep.equal(["succeeded"]);
    });

    it("is sent at once, also if progress is waiting", async () => {
      await rig.queue.enqueue("kind", null, { id: "writes" });
      const watcher = await rig.watch("writes");
      const queue = await rig.elsewhere({ progressMs: 60_000 });
      const { promise, resolve } = deferred();
      queue.worker(async ({ write, progress }) => {
        await progress(1);
        void progress(2);
        await write("at once");
        await promise;
      });
      await eventually(() => expect(watcher.dataOf("chunk")).to.deep.equal(["at once"]));
      expect(watcher.told.at(-1)).to.include({ progress: 2 });
      resolve();
    });
  });
}
