import { expect } from "chai";
import * as fc from "fast-check";

import type { LogOptions, LoggedEvent } from "../../../lib/history/log-publisher.js";
import { readWriterOptions, StreamWriter, type WriterOptions } from "../../../lib/history/stream-writer.js";
import type { RedisSseError } from "../../../lib/index.js";
import { maxFrameBytes } from "../../../lib/text-splitter.js";
import { settle } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { expectFault, faultOf } from "../../support/service.js";
import { anyChunks, asRead, readerOf, wireBytes } from "../../support/written-text.js";

const FLUSH_MS = 20;

/** A writer over a log that accepts every event. It records all published events. */
class WriterRig {
  readonly clock: FakeClock = new FakeClock();
  /** Data of the events that carry chunks. */
  readonly pieces: string[] = [];
  /** Endings that the writer published. */
  endings: string[] = [];
  onPublish: () => Promise<void> = () => Promise.resolve();
  readonly writer: StreamWriter;

  constructor(options: WriterOptions = {}, { maxEventBytes = 1_000, maxEvents = 10_000 } = {}) {
    this.writer = new StreamWriter(
      "channel",
      {
        clock: this.clock,
        maxEventBytes,
        maxEvents,
        token: "token",
        renew: () => Promise.resolve("ok"),
        serialize: ({ event, data }) => ({ event, data: String(data) }),
        publish: (event, given) => this.#publish(event, given),
      },
      undefined,
      readWriterOptions({ flushMs: FLUSH_MS, ...options }),
      () => {},
    );
  }

  async #publish({ data }: LoggedEvent, { ending }: LogOptions): Promise<void> {
    await this.onPublish();
    if (ending !== undefined) this.endings.push(ending);
    else this.pieces.push(data);
  }

  /** Sends everything that was written so far. */
  async flush(): Promise<void> {
    await settle();
    this.clock.advance(FLUSH_MS);
    await settle();
  }
}

describe("StreamWriter", () => {
  it("holds back a trailing CR and resolves write() without waiting for it", async () => {
    const rig = new WriterRig();
    const { writer, pieces } = rig;
    await writer.write("50%\r");
    await rig.flush();
    expect(pieces).to.deep.equal(["50%"]);
    await writer.write("\r");
    await writer.write("");
    await writer.end();
    expect(pieces).to.deep.equal(["50%", "\r", "\r"]);
  });

  it('ends the stream as "broken" at the end of an `await using` block, unless it was ended before', async () => {
    const [left, ended] = [new WriterRig(), new WriterRig()];
    const use = async ({ writer }: WriterRig, work: (used: StreamWriter) => Promise<void>) => {
      await using used = writer;
      await work(used);
    };
    await use(left, (writer) => writer.write("a"));
    await use(ended, (writer) => writer.end());
    expect([left.endings, left.pieces]).to.deep.equal([["broken"], ["a"]]);
    expect(ended.endings).to.deep.equal(["completed"]);
  });

  it("sends the held-back text even if end() is called while the last batch is being sent", async () => {
    for (let turns = 0; turns < 12; turns++) {
      const rig = new WriterRig();
      rig.onPublish = () => settle(1);
      await rig.writer.write("a\r");
      await settle();
      rig.clock.advance(FLUSH_MS);
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      await rig.writer.end();
      expect(rig.pieces, `after ${turns} turns`).to.deep.equal(["a", "\r"]);
      expect(rig.endings).to.deep.equal(["completed"]);
    }
  });

  it('ends the stream as "broken" if the held-back text would exceed maxEvents', async () => {
    const rig = new WriterRig({}, { maxEvents: 2 });
    await rig.writer.write("a\r");
    await rig.flush();
    expectFault(await faultOf(rig.writer.end()), "STREAM_TOO_LONG");
    expect(rig.pieces).to.deep.equal(["a"]);
    expect(rig.endings).to.deep.equal(["broken"]);
  });

  it("rejects a chunk whose lines make its SSE frame too large, and stores nothing", async () => {
    const rig = new WriterRig();
    const fault = await faultOf(rig.writer.write("\n".repeat(571)));
    expectFault(fault, "EVENT_TOO_LARGE");
    expect((fault as RedisSseError).message).to.equal(
      "This chunk has too many lines: its event would exceed 4000 bytes. Write it in smaller chunks.",
    );
    await rig.writer.write("\n".repeat(570));
    await rig.writer.end();
    expect(rig.pieces.join("")).to.equal("\n".repeat(570));
  });

  it("delivers any text unchanged for any split into chunks, batches and events", async () => {
    const sizes = fc.record({
      maxBatchBytes: fc.constantFrom(1, 5, 40, 16_384),
      maxEventBytes: fc.constantFrom(20, 64, 500, 262_144),
    });
    const steps = fc.tuple(
      anyChunks,
      fc.func(fc.constantFrom("go on", "await", "flush")),
      fc.constantFrom("end", "abort"),
      sizes,
    );
    await fc.assert(
      fc.asyncProperty(steps, async ([chunks, stepAfter, how, { maxBatchBytes, maxEventBytes }]) => {
        const rig = new WriterRig({ maxBatchBytes }, { maxEventBytes });
        const answers: Promise<string>[] = [];
        for (const [index, chunk] of chunks.entries()) {
          const answer = rig.writer.write(chunk).then(
            () => chunk,
            (error: unknown) => {
              const isTooLarge = Buffer.byteLength(chunk) > maxEventBytes;
              expectFault(error, isTooLarge ? "EVENT_TOO_LARGE" : "WRITER_OVERFLOW");
              return "";
            },
          );
          answers.push(answer);
          const step = stepAfter(index);
          if (step === "go on") continue;
          await rig.flush();
          if (step === "await") await answer;
        }
        await rig.writer[how]();
        const written = await Promise.all(answers);
        expect(readerOf(rig.pieces)).to.equal(asRead(written.join("")));
        expect(rig.endings).to.deep.equal([how === "end" ? "completed" : "broken"]);
        for (const piece of rig.pieces) {
          expect(Buffer.byteLength(piece)).to.be.at.most(maxEventBytes);
          expect(wireBytes(piece)).to.be.at.most(maxFrameBytes(maxEventBytes));
        }
        expect(rig.clock.pending).to.equal(0);
      }),
      { numRuns: 300 },
    );
  });
});
