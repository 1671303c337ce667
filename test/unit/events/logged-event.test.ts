import { expect } from "chai";

import { readInboundEvent, readLoggedEvent } from "../../../lib/events/inbound-event.js";
import { parseEvents } from "../../support/sse-client.js";

const MAX_BYTES = 100;
const position = { epoch: "0badcafe", offset: 7 };
const live = (event: string, data: string, ending = "") =>
  readInboundEvent("c", `\u001esse1\n0badcafe 7${ending}\n${event}\n${data}`, MAX_BYTES);

describe("readLoggedEvent()", () => {
  it("makes of an entry what was made of it live", () => {
    for (const [event, data] of [
      ["", "a"],
      ["news", "a\nb"],
      ["", ""],
      ["news", "x".repeat(MAX_BYTES + 1)],
    ] as const) {
      const logged = readLoggedEvent(
        "c",
        { event: event === "" ? undefined : event, data, position },
        MAX_BYTES,
      );
      expect(logged).to.deep.equal(live(event, data));
      expect(logged.position).to.deep.equal(position);
    }
  });

  for (const ending of ["completed", "broken"] as const) {
    it(`keeps that it was the last, and ${ending}`, () => {
      const logged = readLoggedEvent("c", { event: undefined, data: "z", position, ending }, MAX_BYTES);
      expect(logged).to.deep.equal(live("", "z", ` ${ending}`));
      expect(logged.ending).to.equal(ending);
    });
  }

  it("shows a client no event for an end without one", () => {
    const { frame } = readLoggedEvent(
      "c",
      { event: undefined, data: "", position, ending: "completed" },
      MAX_BYTES,
    );
    expect(frame).to.equal("");
  });

  it("tells a client that the writer was lost, whatever the entry says", () => {
    for (const data of ["", "password=hunter2"]) {
      const { frame } = readLoggedEvent(
        "c",
        { event: undefined, data, position, ending: "broken" },
        MAX_BYTES,
      );
      const [event] = parseEvents(frame);
      expect(event?.event).to.equal("error");
      expect(JSON.parse(event!.data)).to.deep.equal({
        code: "BROKEN",
        message: "this stream was broken off before its end",
      });
    }
  });

  it("tells a gap in its place of one that is too large, the last one too", () => {
    const data = "é".repeat(MAX_BYTES / 2 + 1);
    const logged = readLoggedEvent("c", { event: undefined, data, position, ending: "completed" }, MAX_BYTES);
    expect(logged).to.deep.include({ event: "gap", position, ending: "completed" });
    expect(JSON.parse(logged.data)).to.deep.equal({ channels: ["c"], reason: "too-large" });
  });

  for (const event of ["connected", "gap", "error", "closing", "open", "a\rb", "a\0b"]) {
    it(`tells a gap in place of one that was written as ${JSON.stringify(event)}`, () => {
      const logged = readLoggedEvent("c", { event, data: "evil", position }, MAX_BYTES);
      expect(logged).to.deep.include({ channel: "c", event: "gap", position });
      expect(JSON.parse(logged.data)).to.deep.equal({ channels: ["c"], reason: "invalid" });
      expect(logged.frame).to.not.include("evil");
    });
  }
});
