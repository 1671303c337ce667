import { expect } from "chai";

import { WireReader } from "../../soak/wire-reader.js";

const HEAD =
  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
const CHUNKS = [
  "retry: 500\nevent: connected\nda",
  "ta: {}\n",
  "\n",
  "data: 0\nid: 1.Ag\n\n",
  ":\n",
  "data: 1\n\n",
];
const STREAM = `${HEAD}${CHUNKS.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("")}0\r\n\r\n`;

function read(pieces: readonly string[]): readonly string[] {
  const seen: string[] = [];
  const reader = new WireReader({
    onStatus: (status) => seen.push(`status ${status}`),
    onEvent: ({ event, data, id }) => seen.push(`${event} ${data}${id === undefined ? "" : ` as ${id}`}`),
    onRetry: (milliseconds) => seen.push(`retry ${milliseconds}`),
    onHeartbeat: () => seen.push("heartbeat"),
    onComplete: () => seen.push("complete"),
    onTrailing: (text) => seen.push(`trailing ${text}`),
    onGarbage: (text) => seen.push(`garbage ${text}`),
  });
  for (const piece of pieces) reader.feed(Buffer.from(piece));
  return seen;
}

describe("the soak's reader of HTTP and events", () => {
  const expected = [
    "status 200",
    "retry 500",
    "connected {}",
    "message 0 as 1.Ag",
    "heartbeat",
    "message 1",
    "complete",
  ];

  it("reads a stream, however it is cut into pieces", () => {
    expect(read([STREAM])).to.deep.equal(expected);
    expect(read(STREAM.split(""))).to.deep.equal(expected);
    for (let at = 1; at < STREAM.length; at++)
      expect(read([STREAM.slice(0, at), STREAM.slice(at)])).to.deep.equal(expected);
  });

  it("sees what follows the end, in the same piece or in the next", () => {
    expect(read([`${STREAM}HTTP/1.1`]).slice(-2)).to.deep.equal(["complete", "trailing HTTP/1.1"]);
    expect(read([STREAM, "x"]).slice(-2)).to.deep.equal(["complete", "trailing x"]);
  });

  it("passes over the body of another status", () => {
    const answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}";
    expect(read(answer.split(""))).to.deep.equal(["status 503", "complete"]);
  });

  it("takes nothing for what it is not", () => {
    expect(read(["SSH-2.0\r\n\r\n"])[0]).to.equal("garbage ssh-2.0");
    expect(read([`${HEAD}zz\r\n`]).at(-1)).to.match(/^garbage/);
    expect(read([`${HEAD}6\r\nwhat\n\n\r\n`]).at(-1)).to.equal("garbage what");
    // Half an event at the end.
    expect(read([`${HEAD}7\r\ndata: 1\r\n0\r\n\r\n`]).slice(1)).to.deep.equal([
      "garbage data: 1",
      "complete",
    ]);
  });
});
