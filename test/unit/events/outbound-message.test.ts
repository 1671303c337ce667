import { expect } from "chai";

import { RedisSseError } from "../../../lib/errors.js";
import type { ErrorCode } from "../../../lib/catalogue/error-catalogue.js";
import {
  encodeMessage,
  serializeMessage,
  type OutboundMessage,
} from "../../../lib/events/outbound-message.js";
import { parseEvents } from "../../support/sse-client.js";

describe("serializeMessage()", () => {
  it("keeps a string as it is and encodes anything else as JSON", () => {
    const cases = [
      ["text", "text"],
      ["", ""],
      ['"quoted"', '"quoted"'],
      [{ a: [1, null] }, '{"a":[1,null]}'],
      [[], "[]"],
      [0, "0"],
      [false, "false"],
      [null, "null"],
      [new Date(0), '"1970-01-01T00:00:00.000Z"'],
    ] as const;
    for (const event of [undefined, "news"])
      for (const [data, text] of cases) {
        expect(serializeMessage({ event, data }, 100)).to.deep.equal({ event, data: text });
      }
  });

  it("rejects an unknown field unless it is undefined, and does not repeat a name with control characters", () => {
    expect(serializeMessage({ data: 1, id: undefined } as OutboundMessage, 100).data).to.equal("1");
    for (const [key, told] of [
      ["evnt", '"evnt"'],
      ["a\r\nforged", "another field"],
    ] as const) {
      expect(() => serializeMessage({ data: 1, [key]: 2 }, 100))
        .to.throw(RedisSseError, told)
        .with.property("code", "INVALID_EVENT");
    }
  });

  it("reads each field once, also from a class, and hides errors that a getter throws", () => {
    let reads = 0;
    class Message {
      get data(): unknown {
        return reads++ === 0 ? "text" : { another: 1 };
      }
    }
    expect(serializeMessage(new Message(), 100).data).to.equal("text");
    const secret: OutboundMessage = {
      get data(): never {
        throw new Error("SECRET");
      },
    };
    expectFault("INVALID_EVENT", secret);
  });

  it("rejects a message without data", () => {
    expect(() => serializeMessage({ event: "x" } as OutboundMessage, 100)).to.throw(
      "expected an event { event?, data } with data, got none",
    );
  });

  it("rejects data with more UTF-8 bytes than the limit", () => {
    expect(serializeMessage({ data: "é".repeat(50) }, 100).data).to.have.length(50);
    expectFault("EVENT_TOO_LARGE", { data: `${"é".repeat(50)}x` });
    expectFault("EVENT_TOO_LARGE", { data: "x".repeat(101) });
    expectFault("EVENT_TOO_LARGE", { data: { text: "x".repeat(99) } });
  });

  it("rejects an event name of more than 256 bytes for any data limit", () => {
    expect(serializeMessage({ event: "é".repeat(128), data: "x" }, 100).event).to.have.length(128);
    for (const event of [`${"é".repeat(128)}x`, "x".repeat(257), "x".repeat(2_000_000)]) {
      expect(() => serializeMessage({ event, data: "x" }, 1_000_000))
        .to.throw(/^The event name takes \d+ bytes, more than 256/)
        .with.property("code", "EVENT_TOO_LARGE");
    }
  });

  it("rejects data whose SSE frame is larger than four times the limit", () => {
    expect(serializeMessage({ data: "\n".repeat(5_000) }, 10_000).data).to.have.length(5_000);
    for (const lineEnd of ["\n", "\r"]) {
      expect(() => serializeMessage({ data: lineEnd.repeat(9_000) }, 10_000))
        .to.throw(/more than 40000 bytes on the wire/)
        .with.property("code", "EVENT_TOO_LARGE");
    }
    expect(serializeMessage({ data: ["\n".repeat(4_000)] }, 10_000).data, "JSON is one line").to.have.length(
      8_004,
    );
  });
});

describe("encodeMessage()", () => {
  it("adds a frame that a client reads as the same event", () => {
    const message = encodeMessage({ event: "news", data: { text: "a\nb" } }, 100);
    expect(message).to.deep.include({ event: "news", data: '{"text":"a\\nb"}' });
    expect(parseEvents(message.frame)).to.deep.equal([
      { event: "news", data: '{"text":"a\\nb"}', id: undefined },
    ]);
  });

  it("rejects the same messages as serializeMessage()", () => {
    expect(() => encodeMessage({ event: "error", data: "" }, 100)).to.throw(RedisSseError);
    expect(() => encodeMessage({ data: "x".repeat(101) }, 100)).to.throw(RedisSseError);
  });
});

function expectFault(code: ErrorCode, message: OutboundMessage): void {
  expect(() => serializeMessage(message, 100))
    .to.throw(RedisSseError)
    .with.property("code", code);
}
