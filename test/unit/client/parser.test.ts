import { expect } from "chai";
import { createParser } from "eventsource-parser";
import * as fc from "fast-check";

import { StreamParser, type StreamMessage } from "../../../client/parser.js";

interface Parsed {
  readonly messages: StreamMessage[];
  readonly retries: number[];
}

function parse(chunks: readonly string[], lastEventId = ""): Parsed {
  const parsed: Parsed = { messages: [], retries: [] };
  const handlers = {
    onMessage: (message: StreamMessage) => parsed.messages.push(message),
    onRetry: (retryMs: number) => parsed.retries.push(retryMs),
  };
  const parser = new StreamParser(handlers, lastEventId);
  for (const chunk of chunks) parser.feed(chunk);
  return parsed;
}

/** The events with data, as another parser reads them. It gives an id only to the event that carries it. */
function expected(text: string): readonly { readonly event: string; readonly text: string }[] {
  const found: { event: string; text: string }[] = [];
  const parser = createParser({
    onEvent: ({ event, data }) => found.push({ event: event || "message", text: data }),
  });
  parser.feed(text);
  return found;
}

const line = fc.oneof(
  fc.constantFrom("data: a", "data:b", "data", "data:  c", "event: x", "event:", "id: 7", "id", "retry: 5"),
  fc.constantFrom("", "", ":", ": comment", "other: y", "data: é€😀"),
);
const lineEnd = fc.constantFrom("\n", "\r\n", "\r");
const stream = fc
  .array(fc.tuple(line, lineEnd))
  .map((lines) => lines.map(([text, end]) => text + end).join(""));

describe("StreamParser", () => {
  it("reads any stream in any pieces as eventsource-parser reads it", () => {
    fc.assert(
      fc.property(stream, fc.array(fc.nat(30)), (text, sizes) => {
        // The other parser keeps a CR at the end of its input until it knows the next character.
        const whole = `${text}\n: end\n`;
        const chunks: string[] = [];
        let at = 0;
        for (const size of sizes) chunks.push(whole.slice(at, (at += size)));
        chunks.push(whole.slice(at));
        const read = parse(chunks).messages.filter(({ event }) => event !== "");
        expect(read.map(({ event, text: data }) => ({ event, text: data }))).to.deep.equal(expected(whole));
      }),
      { numRuns: 500 },
    );
  });

  it("gives each event the id of the last event that had one", () => {
    const { messages } = parse(["data: a\n\nid: 7\ndata: b\n\ndata: c\n\nid\ndata: d\n\n"], "3");
    expect(messages.map(({ id }) => id)).to.deep.equal(["3", "7", "7", ""]);
  });

  it("does not give an event the id of one that is not complete", () => {
    const { messages } = parse(["id: 7\ndata: a\n\nid: 8\ndata: b\n"]);
    expect(messages.map(({ id }) => id)).to.deep.equal(["7"]);
  });

  it("tells an id without data", () => {
    expect(parse(["id: 7\n\n"]).messages).to.deep.equal([{ event: "", text: "", id: "7" }]);
  });

  it("ignores an id with NUL, a retry that is no number, and a byte order mark", () => {
    const { messages, retries } = parse(["\uFEFFid: a\0b\nretry: 1s\nretry: 250\ndata: x\n\n"]);
    expect(messages).to.deep.equal([{ event: "message", text: "x", id: "" }]);
    expect(retries).to.deep.equal([250]);
  });
});
