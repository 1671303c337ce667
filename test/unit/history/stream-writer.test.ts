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

/** A writer over a log that takes every event, and what it has published. */
class WriterRig {
  readonly clock: FakeClock = new FakeClock();
  /** The events that carry chunks. */
  readonly pieces: string[] = [];
  /** How it ended. */
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

  /** What was written so far is sent. */
  async flush(): Promise<void> {
    await settle();
    this.clock.advance(FLUSH_MS);
    await settle();
  }
}

describe("StreamWriter", () => {
  it("sends all but a trailing CR, and resolves write() without it", async () => {
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

  it("is broken off at the end of its block, unless it was ended", async () => {
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

  it("sends the text that was held back if end() is called in any turn of its last batch", async () => {
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

  it("breaks its stream off if the text that was held back is one event too many", async () => {
    const rig = new WriterRig({}, { maxEvents: 2 });
    await rig.writer.write("a\r");
    await rig.flush();
    expectFault(await faultOf(rig.writer.end()), "STREAM_TOO_LONG");
    expect(rig.pieces).to.deep.equal(["a"]);
    expect(rig.endings).to.deep.equal(["broken"]);
  });

  it("refuses a chunk whose lines make it too large on the wire, and stores nothing of it", async () => {
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

  it("gives readers any text as it was written, however it was cut into chunks, batches and events", async () => {
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
