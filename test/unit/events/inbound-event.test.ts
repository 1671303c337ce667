import { expect } from "chai";

import { assertChannel, NO_CHANNEL } from "../../../lib/events/channel-name.js";
import { encodeEnvelope, type Envelope } from "../../../lib/events/inbound-event.js";
import { readInboundEvent, readLoggedEvent, type InboundEvent } from "../../../lib/events/inbound-event.js";
import { createGap } from "../../../lib/events/gap.js";
import { parseEvents, type ReceivedEvent } from "../../support/sse-client.js";

const MAX_BYTES = 100;

describe("readInboundEvent()", () => {
  it("reads plain text as a `message` event, unchanged and without an id", () => {
    const event = readInboundEvent("c", '{"a":1}', MAX_BYTES);
    expect(event).to.deep.include({ channel: "c", event: undefined, data: '{"a":1}' });
    expect(received("c", '{"a":1}')).to.deep.equal([{ event: "message", data: '{"a":1}', id: undefined }]);
  });

  it("reads an envelope as the published event", () => {
    const message = encodeEnvelope({ event: "news", data: "a\nb" });
    expect(readInboundEvent("c", message, MAX_BYTES)).to.deep.include({
      channel: "c",
      event: "news",
      data: "a\nb",
    });
    expect(received("c", message)).to.deep.equal([{ event: "news", data: "a\nb", id: undefined }]);
  });

  for (const event of ["connected", "gap", "error", "closing", "open", "a\rdata: evil", "a\u0000", "\r"]) {
    it(`drops an envelope with the event name ${JSON.stringify(event)}, with or without a position`, () => {
      for (const place of ["", "0123abcd 9"]) {
        expect(readInboundEvent("c", `\u001esse1\n${place}\n${event}\nx`, MAX_BYTES)).to.equal(null);
      }
    });
  }

  it("keeps the position of an event and does not write it into the frame", () => {
    const position = { epoch: "0123abcd", offset: 9 };
    const event = readInboundEvent("c", "\u001esse1\n0123abcd 9\nnews\nx", MAX_BYTES);
    expect(event).to.deep.include({ channel: "c", event: "news", data: "x", position });
    expect(event).to.not.have.property("ending");
    const last = readInboundEvent("c", "\u001esse1\n0123abcd 9 completed\nnews\nx", MAX_BYTES);
    expect(last).to.deep.include({ event: "news", data: "x", position, ending: "completed" });
    const large = readInboundEvent("c", `\u001esse1\n0123abcd 9\nnews\n${"x".repeat(101)}`, MAX_BYTES);
    expect(large).to.deep.include({ event: "gap", position });
    expect(readInboundEvent("c", "plain", MAX_BYTES)).to.not.have.property("position");
  });

  it("returns a gap instead of data with too many UTF-8 bytes", () => {
    expect(readInboundEvent("c", "x".repeat(MAX_BYTES), MAX_BYTES)?.event).to.equal(undefined);
    expect(readInboundEvent("c", "é".repeat(MAX_BYTES / 2), MAX_BYTES)?.event).to.equal(undefined);
    const enveloped = encodeEnvelope({ event: "news", data: "x".repeat(MAX_BYTES) });
    expect(readInboundEvent("c", enveloped, MAX_BYTES)?.event, "not the envelope around it").to.equal("news");
    for (const message of [
      "x".repeat(MAX_BYTES + 1),
      "é".repeat(MAX_BYTES / 2 + 1),
      encodeEnvelope({ event: "news", data: "x".repeat(MAX_BYTES + 1) }),
      encodeEnvelope({ event: "n".repeat(257), data: "x" }),
    ]) {
      const [event] = received("c", message);
      expect(event?.event).to.equal("gap");
      expect(JSON.parse(event!.data)).to.deep.equal({ channels: ["c"], reason: "too-large" });
    }
  });

  it("returns a gap instead of data whose SSE frame is larger than four times the limit", () => {
    for (const message of ["\n".repeat(9_000), encodeEnvelope({ event: "e", data: "\r".repeat(9_000) })]) {
      expect(readInboundEvent("c", message, 10_000)).to.deep.include({ event: "gap", gap: "too-large" });
    }
  });

  it("passes the same data to `until` as the frame contains", () => {
    for (const message of ["plain", encodeEnvelope({ event: "e", data: "d" }), "x".repeat(MAX_BYTES + 1)]) {
      const event = readInboundEvent("c", message, MAX_BYTES)!;
      expect(parseEvents(event.frame)).to.deep.equal([
        { event: event.event ?? "message", data: event.data, id: undefined },
      ]);
    }
  });
});

describe("readLoggedEvent()", () => {
  const position = { epoch: "0badcafe", offset: 7 };
  const live = (event: string, data: string, ending = ""): InboundEvent | null =>
    readInboundEvent("c", `\u001esse1\n0badcafe 7${ending}\n${event}\n${data}`, MAX_BYTES);
  const logged = (event: Partial<Envelope>): InboundEvent =>
    readLoggedEvent("c", { event: undefined, data: "", position, ...event }, MAX_BYTES);

  it("returns the same event for a log entry as for the live message", () => {
    for (const [event, data] of [
      ["", "a"],
      ["news", "a\nb"],
      ["", ""],
      ["news", "x".repeat(MAX_BYTES + 1)],
    ] as const) {
      expect(logged({ event: event === "" ? undefined : event, data })).to.deep.equal(live(event, data));
    }
  });

  for (const ending of ["completed", "broken"] as const) {
    it(`keeps the ending "${ending}" of the last event`, () => {
      const event = logged({ data: "z", ending });
      expect(event).to.deep.equal(live("", "z", ` ${ending}`));
      expect(event).to.deep.include({ position, ending });
    });
  }

  it("writes no frame for an ending without an event", () => {
    expect(logged({ ending: "completed" }).frame).to.equal("");
  });

  it("writes a BROKEN error for a broken stream and hides the data of the entry", () => {
    for (const data of ["", "password=hunter2"]) {
      const [event] = parseEvents(logged({ data, ending: "broken" }).frame);
      expect(event?.event).to.equal("error");
      expect(JSON.parse(event!.data)).to.deep.equal({
        code: "BROKEN",
        message: "The publisher of this stream stopped before its end.",
      });
    }
  });

  it("returns a gap instead of an event that is too large, also for the last event", () => {
    const data = "é".repeat(MAX_BYTES / 2 + 1);
    const event = logged({ data, ending: "completed" });
    expect(event).to.deep.include({ event: "gap", position, ending: "completed" });
    expect(JSON.parse(event.data)).to.deep.equal({ channels: ["c"], reason: "too-large" });
  });

  for (const event of ["connected", "gap", "error", "closing", "open", "a\rb", "a\0b"]) {
    it(`returns a gap instead of an event with the name ${JSON.stringify(event)}`, () => {
      const gap = logged({ event, data: "evil" });
      expect(gap).to.deep.include({ channel: "c", event: "gap", position });
      expect(JSON.parse(gap.data)).to.deep.equal({ channels: ["c"], reason: "invalid" });
      expect(gap.frame).to.not.include("evil");
    });
  }
});

describe("createGap()", () => {
  it("names the channels and the reason in the frame and in the data", () => {
    const gap = createGap(["a", "b"], "interrupted");
    expect(gap).to.deep.include({ channel: NO_CHANNEL, event: "gap" });
    expect(JSON.parse(gap.data)).to.deep.equal({ channels: ["a", "b"], reason: "interrupted" });
    expect(parseEvents(gap.frame)).to.deep.equal([{ event: "gap", data: gap.data, id: undefined }]);
  });

  it("goes to the members of the given channel", () => {
    expect(createGap(["a"], "too-large", "a").channel).to.equal("a");
  });

  it("uses a channel name that no channel can have by default", () => {
    expect(() => assertChannel(NO_CHANNEL, "")).to.throw();
  });
});

function received(channel: string, message: string): readonly ReceivedEvent[] {
  const event = readInboundEvent(channel, message, MAX_BYTES);
  return event === null ? [] : parseEvents(event.frame);
}
