import { expect } from "chai";

import type { LogPage } from "../../../lib/replay/history-port.js";
import type { LoggedInboundEvent } from "../../../lib/events/inbound-event.js";
import { batchesOf } from "../../../lib/events/event-batch.js";
import { EPOCH, loggedEvent } from "../../support/inbound-events.js";
import { logState } from "../../support/log-state.js";

/** From how much text on a batch is a write of its own. */
const BATCH_LENGTH = 64 * 1024;

const pageOf = (events: readonly LoggedInboundEvent[]): LogPage => ({
  ...logState(events.at(-1)?.position ?? { epoch: EPOCH, offset: 0 }),
  previousStamp: 0,
  events,
});

/** Events whose frames have these lengths. */
const eventsOf = (...lengths: readonly number[]): readonly LoggedInboundEvent[] =>
  lengths.map((length, index) => loggedEvent("a", index + 1, { data: "x".repeat(length - FRAME_LENGTH) }));

const FRAME_LENGTH = "data: \n\n".length;

describe("batchesOf()", () => {
  it("is nothing of a page without events", () => {
    expect(batchesOf(pageOf([]).events)).to.deep.equal([]);
  });

  it("is one batch of a small page, as it follows in the log", () => {
    const events = eventsOf(100, 100, 100);
    const batches = batchesOf(pageOf(events).events);
    expect(batches.map((batch) => batch.events)).to.deep.equal([events]);
    expect(batches[0]!.run).to.deep.include({ first: 1, last: events[2]!.position });
    expect(batches[0]!.channel).to.equal("a");
  });

  it("ends a batch with the event that brings it to its length", () => {
    const half = BATCH_LENGTH / 2;
    const batches = batchesOf(pageOf(eventsOf(half, half - 1, 50, 50, half, half)).events);
    expect(batches.map(({ events }) => events.map(({ position }) => position!.offset))).to.deep.equal([
      [1, 2, 3],
      [4, 5, 6],
    ]);
  });

  it("leaves no batch empty where the last event ends one", () => {
    const batches = batchesOf(pageOf(eventsOf(BATCH_LENGTH, BATCH_LENGTH)).events);
    expect(batches.map(({ events }) => events.length)).to.deep.equal([1, 1]);
  });

  it("has every event once, in its order, each batch following on the one before", () => {
    const events = eventsOf(...Array.from({ length: 500 }, (_, index) => 8 + ((index * 7_919) % 3_000)));
    const batches = batchesOf(pageOf(events).events);
    expect(batches.length).to.be.greaterThan(5);
    expect(batches.flatMap((batch) => batch.events)).to.deep.equal(events);
    let next = 1;
    for (const { run, block, events: own } of batches) {
      expect(run?.first).to.equal(next);
      next += own.length;
      expect(block.text.length).to.be.lessThan(BATCH_LENGTH + 3_000);
    }
  });

  it("is made once for all streams that read the page, and their bytes too", () => {
    const page = pageOf(eventsOf(100, 100));
    const [batch] = batchesOf(page.events);
    expect(batchesOf(page.events)).to.equal(batchesOf(page.events));
    expect(batchesOf(page.events)[0]).to.equal(batch);
    expect(batch!.isShared).to.equal(true);
    expect(batchesOf(pageOf([...page.events]).events)[0], "another page of the same events").not.to.equal(
      batch,
    );
  });
});
