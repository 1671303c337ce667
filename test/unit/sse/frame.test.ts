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
      "its fields with one space each, the id last, then one blank line",
      { event: "news", id: "7", data: "a\nb" },
      "event: news\ndata: a\ndata: b\nid: 7\n\n",
    ],
    ["no type where there is none", { event: undefined, id: undefined, data: "a" }, "data: a\n\n"],
    ["no type where it is empty", { event: "", data: "a" }, "data: a\n\n"],
    ["an empty id, which takes the client's last id away", { id: "", data: "a" }, "data: a\nid: \n\n"],
  ] as const) {
    it(`writes ${says}`, () => expect(encodeEvent(fields)).to.equal(expected));
  }

  it("keeps data that poses as other fields within one event", () => {
    expect(parsed({ data: "a\rdata: evil\n\nevent: x" })).to.deep.equal([
      { event: "message", data: "a\ndata: evil\n\nevent: x", id: undefined },
    ]);
  });

  it("passes every other character, and every leading space of a line, as it is", () => {
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
    it(`refuses ${name} in the event's type and in the id`, () => {
      for (const value of [`${character}x`, `x${character}data: evil`, `x${character}`]) {
        expectInvalid(() => encodeEvent({ event: value, data: "" }));
        expectInvalid(() => encodeEvent({ id: value, data: "" }));
      }
    });
  }

  it("round-trips some thousands of generated strings through a parser that is not ours", () => {
    const random = createRandom(20_260_801);
    for (let round = 0; round < 3_000; round++) {
      const data = randomText(random);
      const event = randomText(random).replaceAll(/[\r\n\0]/g, "") || "message";
      const id = randomText(random).replaceAll(/[\r\n\0]/g, "");
      // Two frames: nothing of the first may reach into the second.
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

  it("carries an id where it is given one", () => {
    const [event] = parseEvents(encodeControl("closing", { reason: "completed" }, "completed"));
    expect(event).to.deep.equal({ event: "closing", data: '{"reason":"completed"}', id: "completed" });
  });
});

describe("addRetry()", () => {
  it("writes digits that a client accepts, in the block of an event", () => {
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
    it(`refuses ${JSON.stringify(value) ?? "undefined"} (${typeof value})`, () => {
      expectInvalid(() => addRetry("data: a\n\n", value as number));
    });
  }
});

describe("HEARTBEAT", () => {
  it("is a comment that dispatches nothing and cuts no event in two", () => {
    const [a, b] = [encodeEvent({ data: "a" }), encodeEvent({ data: "b" })];
    const frames = [HEARTBEAT, a, HEARTBEAT, HEARTBEAT, b, HEARTBEAT];
    expect(HEARTBEAT).to.equal(":\n");
    expect(parseEvents(frames.join("")).map(({ data }) => data)).to.deep.equal(["a", "b"]);
  });
});

describe("assertField()", () => {
  it("names the field, and repeats nothing of the value", () => {
    expect(() => assertField("id", "evil\n")).to.throw(RedisSseError, /^expected id(?!.*evil)/);
  });
});

describe("isReservedEvent()", () => {
  it("holds for our control events and for what an EventSource dispatches itself, and for no other name", () => {
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

/** Short texts, of the characters that mean something on the wire more often than of others. */
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
