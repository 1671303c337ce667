import { expect } from "chai";

import { assertChannel, NO_CHANNEL } from "../../../lib/events/channel-name.js";
import { encodeEnvelope, type Envelope } from "../../../lib/events/inbound-event.js";
import { readInboundEvent, readLoggedEvent, type InboundEvent } from "../../../lib/events/inbound-event.js";
import { createGap } from "../../../lib/events/gap.js";
import { parseEvents, type ReceivedEvent } from "../../support/sse-client.js";

const MAX_BYTES = 100;

describe("readInboundEvent()", () => {
  it("makes a plain message of plain text, unchanged and without an id", () => {
    const event = readInboundEvent("c", '{"a":1}', MAX_BYTES);
    expect(event).to.deep.include({ channel: "c", event: undefined, data: '{"a":1}' });
    expect(received("c", '{"a":1}')).to.deep.equal([{ event: "message", data: '{"a":1}', id: undefined }]);
  });

  it("makes of an envelope the event that was published", () => {
    const message = encodeEnvelope({ event: "news", data: "a\nb" });
    expect(readInboundEvent("c", message, MAX_BYTES)).to.deep.include({
      channel: "c",
      event: "news",
      data: "a\nb",
    });
    expect(received("c", message)).to.deep.equal([{ event: "news", data: "a\nb", id: undefined }]);
  });

  for (const event of ["connected", "gap", "error", "closing", "open", "a\rdata: evil", "a\u0000", "\r"]) {
    it(`drops an envelope with the event name ${JSON.stringify(event)}, with or without a place`, () => {
      for (const place of ["", "0123abcd 9"]) {
        expect(readInboundEvent("c", `\u001esse1\n${place}\n${event}\nx`, MAX_BYTES)).to.equal(null);
      }
    });
  }

  it("drops an envelope that is malformed", () => {
    expect(readInboundEvent("c", "\u001esse1\nno more", MAX_BYTES)).to.equal(null);
    expect(readInboundEvent("c", "\u001esse9\n\n\nx", MAX_BYTES)).to.equal(null);
  });

  it("lets no forged envelope set an id, a retry or another event", () => {
    const data = "x\nid: 9-9\n\nevent: closing\nretry: 0\ndata: y";
    for (const place of ["", "0123abcd 9"]) {
      const forged = `\u001esse1\n${place}\nnews\n${data}`;
      expect(received("c", forged)).to.deep.equal([{ event: "news", data, id: undefined }]);
    }
    // A place that can be none is no envelope of ours.
    expect(readInboundEvent("c", `\u001esse1\n9-9\nnews\n${data}`, MAX_BYTES)).to.equal(null);
  });

  it("keeps the place of an event, which says nothing of it on the wire", () => {
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

  it("passes on what is left of bytes that are no UTF-8", () => {
    const message = Buffer.from([0x61, 0xff, 0xfe, 0x62]).toString();
    expect(received("c", message)).to.deep.equal([
      { event: "message", data: "a\ufffd\ufffdb", id: undefined },
    ]);
  });

  it("tells a gap in place of data that is too large, counted in bytes of UTF-8", () => {
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

  it("tells a gap in place of data whose lines take more than four times the limit on the wire", () => {
    for (const message of ["\n".repeat(9_000), encodeEnvelope({ event: "e", data: "\r".repeat(9_000) })]) {
      expect(readInboundEvent("c", message, 10_000)).to.deep.include({ event: "gap", gap: "too-large" });
    }
  });

  it("gives an event as `until` sees it the data that its frame has", () => {
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

  it("makes of an entry what was made of it live", () => {
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
    it(`keeps that it was the last, and ${ending}`, () => {
      const event = logged({ data: "z", ending });
      expect(event).to.deep.equal(live("", "z", ` ${ending}`));
      expect(event).to.deep.include({ position, ending });
    });
  }

  it("shows a client no event for an end without one", () => {
    expect(logged({ ending: "completed" }).frame).to.equal("");
  });

  it("tells a client that the writer was lost, whatever the entry says", () => {
    for (const data of ["", "password=hunter2"]) {
      const [event] = parseEvents(logged({ data, ending: "broken" }).frame);
      expect(event?.event).to.equal("error");
      expect(JSON.parse(event!.data)).to.deep.equal({
        code: "BROKEN",
        message: "The publisher of this stream stopped before its end.",
      });
    }
  });

  it("tells a gap in its place of one that is too large, the last one too", () => {
    const data = "é".repeat(MAX_BYTES / 2 + 1);
    const event = logged({ data, ending: "completed" });
    expect(event).to.deep.include({ event: "gap", position, ending: "completed" });
    expect(JSON.parse(event.data)).to.deep.equal({ channels: ["c"], reason: "too-large" });
  });

  for (const event of ["connected", "gap", "error", "closing", "open", "a\rb", "a\0b"]) {
    it(`tells a gap in place of one that was written as ${JSON.stringify(event)}`, () => {
      const gap = logged({ event, data: "evil" });
      expect(gap).to.deep.include({ channel: "c", event: "gap", position });
      expect(JSON.parse(gap.data)).to.deep.equal({ channels: ["c"], reason: "invalid" });
      expect(gap.frame).to.not.include("evil");
    });
  }
});

describe("createGap()", () => {
  it("names the channels and the reason, to the frame and to who reads its data alike", () => {
    const gap = createGap(["a", "b"], "interrupted");
    expect(gap).to.deep.include({ channel: NO_CHANNEL, event: "gap" });
    expect(JSON.parse(gap.data)).to.deep.equal({ channels: ["a", "b"], reason: "interrupted" });
    expect(parseEvents(gap.frame)).to.deep.equal([{ event: "gap", data: gap.data, id: undefined }]);
  });

  it("goes to the members of a channel where it is given one", () => {
    expect(createGap(["a"], "too-large", "a").channel).to.equal("a");
  });

  it("goes otherwise by a name that no channel can have", () => {
    expect(() => assertChannel(NO_CHANNEL, "")).to.throw();
  });
});

function received(channel: string, message: string): readonly ReceivedEvent[] {
  const event = readInboundEvent(channel, message, MAX_BYTES);
  return event === null ? [] : parseEvents(event.frame);
}
