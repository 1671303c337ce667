import { expect } from "chai";

import { EventBatch } from "../../../lib/events/event-batch.js";
import { addId } from "../../../lib/sse/frame.js";
import type { InboundEvent } from "../../../lib/events/inbound-event.js";
import { EPOCH, loggedEvent, plainEvent } from "../../support/inbound-events.js";

const at = (offset: number): InboundEvent => loggedEvent("a", offset);
const batchOf = (...events: InboundEvent[]): EventBatch => new EventBatch("a", events, true);

describe("EventBatch", () => {
  describe("of events that follow one another in their log", () => {
    it("knows where the first and the last of them stand", () => {
      const batch = batchOf(at(7), at(8), at(9));
      const run = { epoch: EPOCH, first: 7, previousStamp: 0, last: { epoch: EPOCH, offset: 9 } };
      expect(batch.run).to.deep.equal(run);
      expect(batch.isPlain).to.equal(false);
    });

    it("knows the stamp of the event before it, and is no run if one of them follows a lost event", () => {
      const first = loggedEvent("a", 7, { previousStamp: 1_000_006, stamp: 1_000_007 });
      const next = loggedEvent("a", 8, { previousStamp: 1_000_007, stamp: 1_000_008 });
      const other = loggedEvent("a", 8, { previousStamp: 1_000_999, stamp: 1_000_008 });
      expect(batchOf(first, next).run).to.deep.include({ previousStamp: 1_000_006, last: next.position });
      expect(batchOf(first, other).run).to.equal(null);
    });

    it("is a run also of one event", () => {
      expect(batchOf(at(7)).run).to.deep.include({ first: 7, last: { epoch: EPOCH, offset: 7 } });
    });

    it("is a run also where the last of them ends the channel", () => {
      const end = loggedEvent("a", 8, { ending: "completed" });
      const batch = batchOf(at(7), end);
      expect(batch.run).to.deep.include({ first: 7, last: end.position });
      expect(batch.last).to.equal(end);
    });
  });

  const NO_RUNS: Readonly<Record<string, readonly InboundEvent[]>> = {
    "with a hole": [at(7), at(9)],
    "with a hole behind others": [at(7), at(8), at(9), at(11)],
    "with one that comes twice": [at(7), at(7)],
    "that go back": [at(8), at(7)],
    "of two epochs": [at(7), loggedEvent("a", 8, { epoch: "12345678" })],
    "of two epochs, the second of which begins anew": [at(7), loggedEvent("a", 1, { epoch: "12345678" })],
    "that end in the middle": [loggedEvent("a", 7, { ending: "completed" }), at(8)],
    "with a plain one between them": [at(7), plainEvent("a", "x"), at(8)],
    "with a plain one before them": [plainEvent("a", "x"), at(7)],
    "with a plain one behind them": [at(7), plainEvent("a", "x")],
  };
  for (const [what, events] of Object.entries(NO_RUNS)) {
    it(`of events ${what} is no run, and has to be looked at one by one`, () => {
      const batch = batchOf(...events);
      expect(batch.run).to.equal(null);
      expect(batch.isPlain).to.equal(false);
    });
  }

  it("is plain where no event is in a log", () => {
    const batch = batchOf(plainEvent("a", "x"), plainEvent("a", "y"));
    expect(batch.isPlain).to.equal(true);
    expect(batch.run).to.equal(null);
  });

  it("is not plain where an event without a place ends the channel", () => {
    const batch = batchOf(plainEvent("a", "x"), { ...plainEvent("a", ""), ending: "broken" });
    expect(batch.isPlain).to.equal(false);
    expect(batch.run).to.equal(null);
  });

  describe("encodes", () => {
    it("all its frames as one block, once", () => {
      const batch = batchOf(plainEvent("a", "x"), plainEvent("a", "y"));
      expect(batch.block.text).to.equal("data: x\n\ndata: y\n\n");
      expect(batch.block).to.equal(batch.block);
    });

    it("the form with ids once, and apart from the one without", () => {
      const batch = batchOf(at(7), at(8));
      let asked = 0;
      const encoder = {
        frameOf({ position, frame }: InboundEvent): string {
          asked++;
          return addId(frame, String(position!.offset));
        },
      };
      const block = batch.withIds(encoder);
      expect(block.text).to.equal("data: a7\nid: 7\n\ndata: a8\nid: 8\n\n");
      expect(batch.withIds(encoder)).to.equal(block);
      expect(asked).to.equal(2);
      expect(batch.block.text).to.equal("data: a7\n\ndata: a8\n\n");
    });

    it("bytes only where more than one stream gets them", () => {
      const event = plainEvent("a", "x");
      expect(new EventBatch("a", [event], true).block.payload).to.be.instanceOf(Buffer);
      expect(new EventBatch("a", [event], false).block.payload).to.be.a("string");
    });
  });
});
