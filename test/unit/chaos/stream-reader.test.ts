import { expect } from "chai";

import { StreamReader } from "../../chaos/stream-reader.js";

const HEAD =
  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";

function encode(...chunks: readonly string[]): string {
  return HEAD + chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("");
}

const STREAM = `${encode(
  "retry: 500\nevent: connected\nda",
  "ta: {}\n",
  "\n",
  "data: 0\ndata: 1\nid: 7\n\n",
  ":\n",
  "data: 2\n\nid: 8\n\n",
)}0\r\n\r\n`;

function read(
  pieces: readonly string[],
  lastEventId?: string,
): { seen: readonly string[]; reader: StreamReader } {
  const seen: string[] = [];
  const reader = new StreamReader(lastEventId, {
    onStatus: (status) => seen.push(`status ${status}`),
    onBlock: ({ event, data, id }) => seen.push(`${event} ${data}${id === undefined ? "" : ` as ${id}`}`),
    onHeartbeat: () => seen.push("heartbeat"),
    onComplete: () => seen.push("complete"),
    onTrailing: (text) => seen.push(`trailing ${text}`),
    onGarbage: (text) => seen.push(`garbage ${text}`),
  });
  for (const piece of pieces) reader.feed(Buffer.from(piece));
  return { seen, reader };
}

describe("StreamReader", () => {
  it("reads a stream for any split into pieces", () => {
    const expected = [
      "status 200",
      "connected {}",
      "message 0\n1 as 7",
      "heartbeat",
      "message 2",
      "message undefined as 8",
      "complete",
    ];
    for (let at = 0; at < STREAM.length; at++)
      expect(read([STREAM.slice(0, at), STREAM.slice(at)]).seen).to.deep.equal(expected);
    const { seen, reader } = read(STREAM.split(""));
    expect(seen).to.deep.equal(expected);
    expect(reader).to.deep.include({ retryMs: 500, lastEventId: "8" });
  });

  it("reports bytes after the end, in the same piece or in the next one", () => {
    expect(read([`${STREAM}HTTP/1.1`]).seen.slice(-2)).to.deep.equal(["complete", "trailing HTTP/1.1"]);
    expect(read([STREAM, "x"]).seen.slice(-2)).to.deep.equal(["complete", "trailing x"]);
  });

  it("ignores the body of another status", () => {
    const answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}";
    expect(read(answer.split("")).seen).to.deep.equal(["status 503"]);
  });

  for (const [what, text] of [
    ["another protocol", "SSH-2.0\r\n\r\n"],
    ["an invalid chunk", `${HEAD}zz\r\n`],
    ["an invalid field", encode("what\n\n")],
    ["half an event at the end", `${encode("data: 1\n")}0\r\n\r\n`],
    ["half a line at the end", `${encode("data: 1")}0\r\n\r\n`],
  ] as const) {
    it(`reports ${what}`, () => {
      expect(read([text]).seen.join()).to.include("garbage");
    });
  }
});
