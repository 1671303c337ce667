import { expect } from "chai";

import { batchesOf, EventBatch } from "../../../lib/events/event-batch.js";
import { addId } from "../../../lib/sse/frame.js";
import type { InboundEvent } from "../../../lib/events/inbound-event.js";
import { EPOCH, loggedEvent, plainEvent } from "../../support/inbound-events.js";

const at = (offset: number): InboundEvent => loggedEvent("a", offset);
const batchOf = (...events: InboundEvent[]): EventBatch => new EventBatch("a", events, true);

describe("EventBatch", () => {
  describe("run", () => {
    it("has the positions of the first and the last event", () => {
      const batch = batchOf(at(7), at(8), at(9));
      const run = { epoch: EPOCH, first: 7, previousStamp: 0, last: { epoch: EPOCH, offset: 9 } };
      expect(batch.run).to.deep.equal(run);
      expect(batch.isPlain).to.equal(false);
    });

    it("has the stamp of the event before it, and is null if an event follows a lost event", () => {
      const first = loggedEvent("a", 7, { previousStamp: 1_000_006, stamp: 1_000_007 });
      const next = loggedEvent("a", 8, { previousStamp: 1_000_007, stamp: 1_000_008 });
      const other = loggedEvent("a", 8, { previousStamp: 1_000_999, stamp: 1_000_008 });
      expect(batchOf(first, next).run).to.deep.include({ previousStamp: 1_000_006, last: next.position });
      expect(batchOf(first, other).run).to.equal(null);
    });

    it("may include an event that ends the channel, if it is the last one", () => {
      const end = loggedEvent("a", 8, { ending: "completed" });
      const batch = batchOf(at(7), end);
      expect(batch.run).to.deep.include({ first: 7, last: end.position });
      expect(batch.last).to.equal(end);
    });
  });

  const NO_RUNS: Readonly<Record<string, readonly InboundEvent[]>> = {
    "with a missing event": [at(7), at(8), at(9), at(11)],
    "with a repeated event": [at(7), at(7)],
    "in the wrong order": [at(8), at(7)],
    "of two epochs": [at(7), loggedEvent("a", 8, { epoch: "12345678" })],
    "with an ending before the last event": [loggedEvent("a", 7, { ending: "completed" }), at(8)],
    "with a plain event between them": [at(7), plainEvent("a", "x"), at(8)],
    "with a plain event before them": [plainEvent("a", "x"), at(7)],
    "with a plain event after them": [at(7), plainEvent("a", "x")],
  };
  for (const [what, events] of Object.entries(NO_RUNS)) {
    it(`is neither a run nor plain for events ${what}`, () => {
      const batch = batchOf(...events);
      expect(batch.run).to.equal(null);
      expect(batch.isPlain).to.equal(false);
    });
  }

  it("is plain if no event is in a log or ends the channel", () => {
    const plain = plainEvent("a", "x");
    expect(batchOf(plain, plain)).to.include({ isPlain: true, run: null });
    expect(batchOf(plain, { ...plain, ending: "broken" })).to.include({ isPlain: false, run: null });
  });

  describe("block", () => {
    it("encodes all frames as one block, only once", () => {
      const batch = batchOf(plainEvent("a", "x"), plainEvent("a", "y"));
      expect(batch.block.text).to.equal("data: x\n\ndata: y\n\n");
      expect(batch.block).to.equal(batch.block);
    });

    it("encodes the form with ids once and separately from the form without ids", () => {
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

    it("encodes bytes only if more than one stream gets them", () => {
      const event = plainEvent("a", "x");
      expect(new EventBatch("a", [event], true).block.payload).to.be.instanceOf(Buffer);
      expect(new EventBatch("a", [event], false).block.payload).to.be.a("string");
    });
  });
});

describe("batchesOf()", () => {
  /** A batch ends when its text reaches this length. */
  const BATCH_LENGTH = 64 * 1024;

  /** Returns events whose frames have these lengths. */
  const eventsOf = (...lengths: readonly number[]): readonly InboundEvent[] =>
    lengths.map((length, index) =>
      loggedEvent("a", index + 1, { data: "x".repeat(length - "data: \n\n".length) }),
    );

  const offsetsOf = (...lengths: readonly number[]): unknown =>
    batchesOf(eventsOf(...lengths)).map(({ events }) => events.map(({ position }) => position!.offset));

  it("ends a batch with the event that reaches the batch length, and makes no empty batch", () => {
    const half = BATCH_LENGTH / 2;
    expect(offsetsOf()).to.deep.equal([]);
    expect(offsetsOf(half, half - 1, 50, 50, half, half)).to.deep.equal([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect(offsetsOf(BATCH_LENGTH, BATCH_LENGTH)).to.deep.equal([[1], [2]]);
  });

  it("returns every event once and in order, in consecutive batches", () => {
    const events = eventsOf(...Array.from({ length: 500 }, (_, index) => 8 + ((index * 7_919) % 3_000)));
    const batches = batchesOf(events);
    expect(batches.length).to.be.greaterThan(5);
    expect(batches.flatMap((batch) => batch.events)).to.deep.equal(events);
    let next = 1;
    for (const { channel, run, block, events: own } of batches) {
      expect(channel).to.equal("a");
      expect(run).to.deep.include({ first: next, last: own.at(-1)!.position });
      next += own.length;
      expect(block.text.length).to.be.lessThan(BATCH_LENGTH + 3_000);
    }
  });

  it("returns the same shared batches for all streams that read a page", () => {
    const events = eventsOf(100, 100);
    expect(batchesOf(events)).to.equal(batchesOf(events));
    expect(batchesOf(events)[0]!.isShared).to.equal(true);
    expect(batchesOf([...events])[0], "another page of the same events").not.to.equal(batchesOf(events)[0]);
  });
});
