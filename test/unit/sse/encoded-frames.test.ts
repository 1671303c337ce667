import { expect } from "chai";

import { EncodedFrames, joinBlocks } from "../../../lib/sse/frame.js";
import { parseChunked } from "../../support/chunked.js";

const TEXTS: Readonly<Record<string, string>> = {
  "of ASCII characters": "data: x\n\n",
  "with characters of several bytes": "data: é ✓ 😀\n\n",
  "with lone surrogates": "data: \ud800 x \udc00\n\n",
  "that looks like the end of a chunk": "data: 0\r\n\r\n\n\n",
  "of 16 bytes, whose chunk length has two digits": "data: 23456789\n\n",
  "as long as several packets": `data: ${"é".repeat(100_000)}\n\n`,
};

describe("EncodedFrames", () => {
  for (const [what, text] of Object.entries(TEXTS)) {
    it(`has the same bytes as payload and as chunk for text ${what}`, () => {
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

  it("encodes shared frames to bytes only once for each form", () => {
    const block = new EncodedFrames("data: é\n\n", true);
    expect(block.payload).to.be.instanceOf(Buffer);
    expect(block.payload).to.equal(block.payload);
    expect(block.chunk).to.be.instanceOf(Buffer);
    expect(block.chunk).to.equal(block.chunk);
    expect(block.chunk).not.to.equal(block.payload);
  });

  it("keeps frames for a single client as text", () => {
    const block = new EncodedFrames("data: é\n\n");
    expect(block.payload).to.equal(block.text);
    expect(block.chunk).to.equal(`a\r\n${block.text}\r\n`);
  });

  it("writes no chunk for empty text, because an empty chunk ends the body", () => {
    for (const isShared of [true, false]) expect(new EncodedFrames("", isShared).chunk.length).to.equal(0);
  });
});

describe("joinBlocks()", () => {
  it("joins the blocks in order and returns a single block as it is", () => {
    const block = new EncodedFrames("a", true);
    expect(joinBlocks([block, new EncodedFrames("é"), new EncodedFrames("c", true)]).text).to.equal("aéc");
    expect(joinBlocks([block])).to.equal(block);
  });
});
