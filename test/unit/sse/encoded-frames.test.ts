import { createServer, type AddressInfo } from "node:net";
import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";

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
    for (const isShared of [true, false]) {
      it(`of text ${what} is the same bytes in every form (${isShared ? "shared" : "alone"})`, () => {
        const block = new EncodedFrames(text, isShared);
        const bytes = Buffer.from(text, "utf8");
        expect(block.byteLength).to.equal(bytes.length);
        expect(Buffer.from(block.payload).equals(bytes), "payload").to.equal(true);
        const { chunks, isOver, rest } = parseChunked(Buffer.from(block.chunk));
        expect(chunks).to.have.length(1);
        expect(chunks[0]!.equals(bytes), "chunk").to.equal(true);
        expect([isOver, rest.length]).to.deep.equal([false, 0]);
      });
    }
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

  it("is read by an HTTP client as it is, one behind the other", async () => {
    const blocks = Object.values(TEXTS).flatMap((text) => [
      new EncodedFrames(text, true),
      new EncodedFrames(text),
    ]);
    const server = createServer((socket) => {
      socket.once("data", () => {
        socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
        for (const block of blocks) socket.write(block.chunk);
        socket.end("0\r\n\r\n");
      });
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const asked = request({ port, host: "127.0.0.1", agent: false, insecureHTTPParser: false }).end();
    const [response] = (await once(asked, "response")) as [IncomingMessage];
    const received: Buffer[] = [];
    for await (const part of response) received.push(part as Buffer);
    expect(response.complete).to.equal(true);
    const expected = Buffer.from(
      blocks.map(({ text }) => Buffer.from(text).toString("latin1")).join(""),
      "latin1",
    );
    expect(Buffer.concat(received).equals(expected)).to.equal(true);
    server.close();
    await once(server, "close");
  });
});

describe("joinBlocks()", () => {
  it("is the blocks in their order", () => {
    expect(
      joinBlocks([new EncodedFrames("a", true), new EncodedFrames("é"), new EncodedFrames("c", true)]).text,
    ).to.equal("aéc");
  });

  it("of one is that one, whose bytes are there already", () => {
    const block = new EncodedFrames("a", true);
    expect(joinBlocks([block])).to.equal(block);
  });
});
