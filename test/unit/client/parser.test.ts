import { expect } from "chai";
import { createParser } from "eventsource-parser";
import * as fc from "fast-check";

import { StreamParser, type StreamMessage } from "../../../client/parser.js";

interface Parsed {
  readonly messages: StreamMessage[];
  readonly retries: number[];
}

function parse(chunks: readonly string[], lastEventId = ""): Parsed {
  const retries: number[] = [];
  const parser = new StreamParser((retryMs) => retries.push(retryMs), lastEventId);
  return { messages: chunks.flatMap((chunk) => [...parser.feed(chunk)]), retries };
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

  it("ignores an id with NUL, and a retry that is not a number", () => {
    const { messages, retries } = parse(["id: a\0b\nretry: 1s\nretry: 250\ndata: x\n\n"]);
    expect(messages).to.deep.equal([{ event: "message", text: "x", id: "" }]);
    expect(retries).to.deep.equal([250]);
  });

  it("limits the length of an event, in one line or in many, and reads a long line in linear time", () => {
    const piece = "x".repeat(64 * 1024);
    for (const end of ["", "\ndata:"]) {
      const parser = new StreamParser(() => {}, "");
      const feed = (text: string): StreamMessage[] => [...parser.feed(text)];
      feed("data:");
      for (let count = 0; count < 1_024; count++) {
        expect(parser.isTooLong).to.equal(false);
        feed(piece + end);
      }
      expect(parser.isTooLong).to.equal(true);
      expect(feed("\n\n")).to.have.length(1);
      expect(parser.isTooLong).to.equal(false);
    }
  });
});
