import { expect } from "chai";
import * as fc from "fast-check";

import { TaskFailure, type TaskContext } from "../../../../lib/index.js";
import { OutcomeBatcher } from "../../../../lib/queue/worker/outcome-batcher.js";
import { TaskAttempt } from "../../../../lib/queue/worker/task-attempt.js";
import type { OutputEvent } from "../../../../lib/queue/worker/worker-port.js";
import { maxFrameBytes } from "../../../../lib/text-splitter.js";
import { deferred, settle } from "../../../support/eventually.js";
import { leaseOf, ScriptedPort } from "../../../support/scripted-port.js";
import { expectFault, faultOf } from "../../../support/service.js";
import { anyChunks, asRead, readerOf, wireBytes } from "../../../support/written-text.js";

describe("TaskReporter", () => {
  let port: ScriptedPort;

  beforeEach(() => {
    port = new ScriptedPort();
  });

  /** Runs an attempt to its end. */
  async function run(handler: (context: TaskContext) => unknown): Promise<void> {
    const over = deferred();
    const owner = { onDecided() {}, onDone: () => over.resolve() };
    const handling = { handler, onError() {} };
    new TaskAttempt(port, new OutcomeBatcher(port), leaseOf(), handling, owner).start();
    await over.promise;
    expect(port.clock.pending, "timers").to.equal(0);
  }

  /** Returns everything that was stored, in order: chunks as text, log lines as `log: ...`, progress as a number. */
  function stored(): readonly (string | number)[] {
    return port.reports.flatMap(({ output, progress }) => [
      ...output.map(({ name, data }) => (name === "log" ? `log: ${data}` : data)),
      ...(progress === null ? [] : [progress]),
    ]);
  }

  const chunksOf = (): readonly OutputEvent[] =>
    port.reports.flatMap(({ output }) => output).filter(({ name }) => name === "chunk");

  it("stores the held-back text before a chunk that is not text", async () => {
    await run(async ({ write, log }) => {
      await write("a\r");
      await log("a line");
      await write({ json: 1 });
      await write("\nb\ud83d");
      await write(null);
      await write("\ude00");
    });
    expect(stored()).to.deep.equal([
      "a",
      "log: a line",
      "\r",
      '{"json":1}',
      "\nb",
      "\ud83d",
      "null",
      "\ude00",
    ]);
  });

  for (const [how, thrown, verdict] of [
    ["returns", null, "succeeded"],
    ["throws", new Error("no"), "retry"],
    ["throws a TaskFailure", new TaskFailure("no"), "failed"],
  ] as const) {
    it(`stores the held-back text before the outcome if the handler ${how}`, async () => {
      await run(async ({ write }) => {
        await write("a\r");
        if (thrown !== null) throw thrown;
      });
      expect(stored()).to.deep.equal(["a", "\r"]);
      expect(port.calls).to.deep.equal(["report", "report", "settle"]);
      expect(port.settled[0]?.[1].verdict).to.equal(verdict);
    });
  }

  it("rejects text whose lines make its SSE frame too large, and stores nothing", async () => {
    port.maxBytes = 20_000;
    const tooMany = "\n".repeat(11_428);
    await run(async ({ write }) => {
      const fault = await faultOf(write(tooMany));
      expectFault(fault, "TASK_TOO_LARGE");
      expect((fault as Error).message).to.equal(
        "This chunk has too many line breaks: its event would exceed 80000 bytes. Write it in smaller pieces.",
      );
      await write(tooMany.slice(1));
      await write({ text: tooMany.slice(0, 9_000) });
    });
    expect(chunksOf().map(({ data }) => data.length)).to.deep.equal([11_427, 18_011]);
  });

  it("rejects a log line that is too large for an event", async () => {
    await run(async ({ log }) => {
      for (const line of ["x".repeat(1_001), "\n".repeat(571)]) {
        expectFault(await faultOf(log(line)), "TASK_TOO_LARGE");
      }
      await log("\n".repeat(570));
    });
    expect(stored()).to.deep.equal([`log: ${"\n".repeat(570)}`]);
  });

  it("delivers any text unchanged for any split into chunks, also between log lines", async () => {
    const between = fc.constantFrom("go on", "await", "log", "progress", "time");
    await fc.assert(
      fc.asyncProperty(
        anyChunks,
        fc.func(between),
        fc.constantFrom(20, 64, 500, 262_144),
        async (chunks, stepAfter, maxBytes) => {
          port = new ScriptedPort();
          port.maxBytes = maxBytes;
          const written: string[] = [];
          const lines: string[] = [];
          await run(async ({ write, log, progress }) => {
            for (const [index, chunk] of chunks.entries()) {
              const isTooLarge = Buffer.byteLength(chunk) > maxBytes;
              const writing = isTooLarge ? faultOf(write(chunk)) : write(chunk);
              if (!isTooLarge) written.push(chunk);
              const step = stepAfter(index);
              if (step === "await") await writing;
              if (step === "log") lines.push(String(index));
              if (step === "log") void log(String(index));
              if (step === "progress") void progress(index);
              if (step === "time") await settle(1);
            }
          });
          expect(readerOf(chunksOf().map(({ data }) => data))).to.equal(asRead(written.join("")));
          expect(stored().filter((event) => String(event).startsWith("log: "))).to.deep.equal(
            lines.map((line) => `log: ${line}`),
          );
          for (const { data } of chunksOf()) {
            expect(Buffer.byteLength(data)).to.be.at.most(maxBytes);
            expect(wireBytes(data)).to.be.at.most(maxFrameBytes(maxBytes));
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});
