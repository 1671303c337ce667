import { expect } from "chai";

import { RedisSseError } from "../../../lib/errors.js";
import {
  addRetry,
  assertField,
  encodeControl,
  encodeEvent,
  HEARTBEAT,
  isReservedEvent,
} from "../../../lib/sse/frame.js";
import { EventReader, parseEvents } from "../../support/event-reader.js";
import { createRandom } from "../../support/random.js";

describe("encodeEvent()", () => {
  for (const [says, fields, expected] of [
    [
      "one space after each field name, the id last, then one blank line",
      { event: "news", id: "7", data: "a\nb" },
      "event: news\ndata: a\ndata: b\nid: 7\n\n",
    ],
    [
      "no event field if the event has no type",
      { event: undefined, id: undefined, data: "a" },
      "data: a\n\n",
    ],
    ["no event field if the type is empty", { event: "", data: "a" }, "data: a\n\n"],
    ["an empty id, which resets the client's last event id", { id: "", data: "a" }, "data: a\nid: \n\n"],
  ] as const) {
    it(`writes ${says}`, () => expect(encodeEvent(fields)).to.equal(expected));
  }

  it("keeps data that looks like other fields inside one event", () => {
    expect(parsed({ data: "a\rdata: evil\n\nevent: x" })).to.deep.equal([
      { event: "message", data: "a\ndata: evil\n\nevent: x", id: undefined },
    ]);
  });

  it("leaves all other characters and the leading spaces of a line unchanged", () => {
    for (const data of [
      " a",
      "  a",
      " ",
      "\n a",
      ": a",
      "\ta",
      "äöü日本語👩‍👩‍👧",
      "\u0000\u001e\u0085",
      "\u2028\u2029",
      "\ufeff",
      "\u000b\u000c",
    ]) {
      expect(parsed({ data }), JSON.stringify(data)).to.deep.equal([
        { event: "message", data, id: undefined },
      ]);
    }
    expect(encodeEvent({ data: "\ufeffa" }), "no byte order mark").to.match(/^data:/);
  });

  for (const [name, character] of Object.entries({ LF: "\n", CR: "\r", CRLF: "\r\n", NUL: "\u0000" })) {
    it(`rejects ${name} in the event type and in the id`, () => {
      for (const value of [`${character}x`, `x${character}data: evil`, `x${character}`]) {
        expectInvalid(() => encodeEvent({ event: value, data: "" }));
        expectInvalid(() => encodeEvent({ id: value, data: "" }));
      }
    });
  }

  it("round-trips 3,000 generated events through an independent parser", () => {
    const random = createRandom(20_260_801);
    for (let round = 0; round < 3_000; round++) {
      const data = randomText(random);
      const event = randomText(random).replaceAll(/[\r\n\0]/g, "") || "message";
      const id = randomText(random).replaceAll(/[\r\n\0]/g, "");
      // The second frame shows that nothing of the first frame leaks into it.
      const frames = Buffer.from(encodeEvent({ event, id, data }) + encodeEvent({ data: "end" }));
      expect(parseEvents(frames.toString()), JSON.stringify({ event, id, data })).to.deep.equal([
        { event: wellFormed(event), id: wellFormed(id), data: wellFormed(normalized(data)) },
        { event: "message", id: undefined, data: "end" },
      ]);
    }
  });
});

describe("encodeControl()", () => {
  it("writes its data as JSON on one line", () => {
    const frame = encodeControl("gap", { channels: ["a\nb"], reason: "interrupted" });
    expect(frame).to.equal('event: gap\ndata: {"channels":["a\\nb"],"reason":"interrupted"}\n\n');
  });

  it("writes an id if it is given one", () => {
    const [event] = parseEvents(encodeControl("closing", { reason: "completed" }, "completed"));
    expect(event).to.deep.equal({ event: "closing", data: '{"reason":"completed"}', id: "completed" });
  });
});

describe("addRetry()", () => {
  it("writes the retry time as digits that a client accepts, in the block of the event", () => {
    for (const milliseconds of [0, 1, 2_000, 2 ** 31 - 1, Number.MAX_SAFE_INTEGER]) {
      const frame = addRetry(encodeEvent({ data: "a", id: "1" }), milliseconds);
      expect(frame).to.match(/^retry: [0-9]+\ndata: a\nid: 1\n\n$/);
      const told: unknown[] = [];
      const reader = new EventReader({
        onBlock: ({ data }) => told.push(data),
        onRetry: (value) => told.push(value),
      });
      reader.feed(frame);
      expect(told).to.deep.equal([milliseconds, "a"]);
    }
  });

  for (const value of [-1, NaN, Infinity, 1e99, 1.5, "5", "0\r\nevent: x", null, undefined]) {
    it(`rejects ${JSON.stringify(value) ?? "undefined"} (${typeof value})`, () => {
      expectInvalid(() => addRetry("data: a\n\n", value as number));
    });
  }
});

describe("HEARTBEAT", () => {
  it("is a comment that dispatches no event and does not split events", () => {
    const [a, b] = [encodeEvent({ data: "a" }), encodeEvent({ data: "b" })];
    const frames = [HEARTBEAT, a, HEARTBEAT, HEARTBEAT, b, HEARTBEAT];
    expect(HEARTBEAT).to.equal(":\n");
    expect(parseEvents(frames.join("")).map(({ data }) => data)).to.deep.equal(["a", "b"]);
  });
});

describe("assertField()", () => {
  it("names the field and does not repeat the value", () => {
    expect(() => assertField("id", "evil\n")).to.throw(RedisSseError, /^expected id(?!.*evil)/);
  });
});

describe("isReservedEvent()", () => {
  it("is true only for the control events and for the events that EventSource dispatches itself", () => {
    for (const event of ["connected", "gap", "error", "closing", "open"])
      expect(isReservedEvent(event), event).to.equal(true);
    for (const event of ["message", "Error", "errors", "", "__proto__", "constructor"])
      expect(isReservedEvent(event), event).to.equal(false);
  });
});

function parsed(fields: Parameters<typeof encodeEvent>[0]): unknown {
  return parseEvents(encodeEvent(fields));
}

function expectInvalid(call: () => unknown): void {
  expect(call).to.throw(RedisSseError).with.property("code", "INVALID_EVENT");
}

/** Returns a short text with many characters that have a meaning in the SSE format. */
function randomText(random: () => number): string {
  const alphabet = "\r|\n|\r\n|:| |data|event: x|id|\0|a|é|🎉|\ud83d|\ufeff".split("|");
  const length = Math.floor(random() * 12);
  return Array.from({ length }, () => alphabet[Math.floor(random() * alphabet.length)]!).join("");
}

function normalized(data: string): string {
  return data.replaceAll(/\r\n|\r/g, "\n");
}

function wellFormed(value: string): string {
  return Buffer.from(value).toString();
}
