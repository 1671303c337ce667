import { expect } from "chai";
import * as fc from "fast-check";

import { fitsInEvent, maxFrameBytes, TextSplitter } from "../../lib/text-splitter.js";
import { anyChunks, anyText, asRead, readerOf, wireBytes } from "../support/written-text.js";

const sizes = fc.integer({ min: 4, max: 300 });

/** Returns all pieces of a text that is written in chunks. */
function splitAll(chunks: readonly string[], maxEventBytes: number): readonly string[] {
  const splitter = new TextSplitter(maxEventBytes);
  return [...chunks.flatMap((chunk) => splitter.push(chunk)), ...splitter.end()];
}

describe("fitsInEvent()", () => {
  it("counts 7 frame bytes for each line and allows at most 4 times maxEventBytes", () => {
    expect(maxFrameBytes(1_000)).to.equal(4_000);
    for (const lineEnd of ["\n", "\r"]) {
      // 571 lines: 3,997 bytes.
      expect(fitsInEvent(lineEnd.repeat(570), 1_000)).to.equal(true);
      expect(fitsInEvent(`${lineEnd.repeat(570)}abc`, 1_000)).to.equal(true);
      expect(fitsInEvent(`${lineEnd.repeat(570)}abcd`, 1_000)).to.equal(false);
      expect(fitsInEvent(lineEnd.repeat(571), 1_000)).to.equal(false);
    }
    // A CRLF is one line break of two bytes, so the text exceeds its limit before the frame does.
    expect(fitsInEvent("\r\n".repeat(500), 1_000)).to.equal(true);
    expect(fitsInEvent("\r\n".repeat(501), 1_000)).to.equal(false);
  });

  it("allows frames of at least 1,024 bytes", () => {
    expect(maxFrameBytes(4)).to.equal(1_024);
    expect(fitsInEvent("\n".repeat(145), 145)).to.equal(true);
    expect(fitsInEvent("\n".repeat(146), 146)).to.equal(false);
  });

  it("returns the same result as a direct count of the bytes", () => {
    fc.assert(
      fc.property(anyText, fc.nat(40), sizes, (text, times, maxEventBytes) => {
        const long = text.repeat(times);
        const fits =
          Buffer.byteLength(long) <= maxEventBytes && wireBytes(long) <= maxFrameBytes(maxEventBytes);
        expect(fitsInEvent(long, maxEventBytes)).to.equal(fits);
      }),
      { numRuns: 500 },
    );
  });
});

describe("TextSplitter", () => {
  it("holds back a CR or half a surrogate pair until the next chunk or the end", () => {
    expect(splitAll(["a\r", "", "\nb\r"], 100)).to.deep.equal(["a", "\r\nb", "\r"]);
    expect(splitAll(["a\ud83d", "\ude00b\ud83d"], 100)).to.deep.equal(["a", "😀b", "\ud83d"]);
  });

  it("starts a new text after end()", () => {
    const splitter = new TextSplitter(100);
    splitter.push("\ud83d");
    expect(splitter.end()).to.deep.equal(["\ud83d"]);
    expect(splitter.end()).to.deep.equal([]);
    expect(splitter.push("\ude00")).to.deep.equal(["\ude00"]);
  });

  it("does not split a character or a CRLF", () => {
    expect(splitAll(["😀".repeat(3)], 7)).to.deep.equal(["😀", "😀", "😀"]);
    expect(splitAll(["a\r\nb\r\nc"], 4)).to.deep.equal(["a\r\nb", "\r\nc"]);
    expect(splitAll(["abc\r\nd"], 4)).to.deep.equal(["abc", "\r\nd"]);
  });

  it("splits text whose lines would make an event too large", () => {
    const pieces = splitAll(["\n".repeat(1_000)], 1_000);
    expect(pieces.map(({ length }) => length)).to.deep.equal([570, 430]);
    expect(pieces.map(wireBytes)).to.deep.equal([3_997, 3_017]);
  });

  it("returns any text unchanged in pieces that fit in an event, for any split into chunks", () => {
    fc.assert(
      fc.property(anyChunks, fc.nat(40), sizes, (chunks, times, maxEventBytes) => {
        const all = Array.from({ length: times }, () => chunks).flat();
        const pieces = splitAll(all, maxEventBytes);
        expect(pieces.join("")).to.equal(all.join(""));
        expect(readerOf(pieces)).to.equal(asRead(all.join("")));
        for (const piece of pieces) {
          expect(piece).to.not.equal("");
          expect(Buffer.byteLength(piece)).to.be.at.most(maxEventBytes);
          expect(wireBytes(piece)).to.be.at.most(maxFrameBytes(maxEventBytes));
        }
      }),
      { numRuns: 500 },
    );
  });

  it("holds back at most one UTF-16 unit", () => {
    fc.assert(
      fc.property(anyChunks, (chunks) => {
        const splitter = new TextSplitter(1_000_000);
        let [given, returned] = [0, 0];
        for (const chunk of chunks) {
          given += chunk.length;
          returned += splitter.push(chunk).join("").length;
          expect(given - returned).to.be.within(0, 1);
        }
      }),
    );
  });
});
