import { expect } from "chai";

import { EncodedFrames, joinBlocks } from "../../../lib/sse/frame.js";
import { parseChunked } from "../../support/chunked.js";

const TEXTS: Readonly<Record<string, string>> = {
  ASCII: "data: x\n\n",
  "of more than one byte to a character": "data: é ✓ 😀\n\n",
  "with lone surrogates": "data: \ud800 x \udc00\n\n",
  "that looks like a chunk's end": "data: 0\r\n\r\n\n\n",
  "of 16 bytes, so that the length has two digits": "data: 23456789\n\n",
  "as long as several packets": `data: ${"é".repeat(100_000)}\n\n`,
};

describe("EncodedFrames", () => {
  for (const [what, text] of Object.entries(TEXTS)) {
    it(`of text ${what} is the same bytes in every form`, () => {
      for (const isShared of [true, false]) {
        const block = new EncodedFrames(text, isShared);
        const bytes = Buffer.from(text, "utf8");
        expect(block.byteLength).to.equal(bytes.length);
        expect(Buffer.from(block.payload).equals(bytes), "payload").to.equal(true);
        const { chunks, isOver, rest } = parseChunked(Buffer.from(block.chunk));
        expect(Buffer.concat(chunks).equals(bytes), "chunk").to.equal(true);
        expect([chunks.length, isOver, rest.length]).to.deep.equal([1, false, 0]);
      }
    });
  }

  it("that is shared becomes bytes once, in either form", () => {
    const block = new EncodedFrames("data: é\n\n", true);
    expect(block.payload).to.be.instanceOf(Buffer);
    expect(block.payload).to.equal(block.payload);
    expect(block.chunk).to.be.instanceOf(Buffer);
    expect(block.chunk).to.equal(block.chunk);
    expect(block.chunk).not.to.equal(block.payload);
  });

  it("that is for one client alone stays text", () => {
    const block = new EncodedFrames("data: é\n\n");
    expect(block.payload).to.equal(block.text);
    expect(block.chunk).to.equal(`a\r\n${block.text}\r\n`);
  });

  it("that is empty is no chunk: that would end the coding", () => {
    for (const isShared of [true, false]) expect(new EncodedFrames("", isShared).chunk.length).to.equal(0);
  });
});

describe("joinBlocks()", () => {
  it("is the blocks in their order, and of one that one, whose bytes are there already", () => {
    const block = new EncodedFrames("a", true);
    expect(joinBlocks([block, new EncodedFrames("é"), new EncodedFrames("c", true)]).text).to.equal("aéc");
    expect(joinBlocks([block])).to.equal(block);
  });
});
