import { expect } from "chai";

import { parseEventId, tagOf } from "../../../lib/sse/event-id.js";
import { EventBatch } from "../../../lib/events/event-batch.js";
import { readInboundEvent, type InboundEvent } from "../../../lib/events/inbound-event.js";
import { SessionCursor } from "../../../lib/replay/session-cursor.js";
import { parseEvents } from "../../support/sse-client.js";

const EPOCH = "0badcafe";

const eventOf = (channel: string, offset?: number): InboundEvent =>
  readInboundEvent(channel, offset === undefined ? "plain" : `\u001esse1\n${EPOCH} ${offset}\n\nx`, 100)!;

const placesOf = (id: string | undefined): Record<number, number> =>
  Object.fromEntries((parseEventId(id!) ?? []).map(({ tag, offset }) => [tag, offset]));

describe("SessionCursor", () => {
  it("has no id as long as there is no channel with a history", () => {
    const cursor = new SessionCursor();
    expect(cursor.id).to.equal(undefined);
    expect(cursor.frameOf(eventOf("a", 7))).to.equal("data: x\n\n");
    expect(cursor.id).to.equal(undefined);
  });

  it("gives each event the place of all channels, as it is behind it", () => {
    const cursor = new SessionCursor();
    cursor.set("a", { epoch: EPOCH, offset: 1 });
    cursor.set("b", { epoch: EPOCH, offset: 5 });
    const ids = [eventOf("a", 2), eventOf("b", 6), eventOf("a", 3)].map(
      (event) => parseEvents(cursor.frameOf(event))[0]?.id,
    );
    expect(ids.map(placesOf)).to.deep.equal([
      { [tagOf("a")]: 2, [tagOf("b")]: 5 },
      { [tagOf("a")]: 2, [tagOf("b")]: 6 },
      { [tagOf("a")]: 3, [tagOf("b")]: 6 },
    ]);
    expect(cursor.id).to.equal(ids[2]);
  });

  it("gives an event without a place the id only if the client does not know it yet", () => {
    const cursor = new SessionCursor();
    cursor.set("a", { epoch: EPOCH, offset: 1 });
    const plain = new EventBatch("a", [eventOf("a"), eventOf("a")], true);
    expect(cursor.blockOf(plain).text).to.equal(`data: plain\nid: ${cursor.id}\n\ndata: plain\n\n`);
    expect(cursor.blockOf(plain)).to.equal(plain.block);
    cursor.skip(eventOf("a", 2));
    expect(cursor.frameOf(eventOf("a"))).to.equal(`data: plain\nid: ${cursor.id}\n\n`);
    expect(cursor.frameOf(eventOf("a"))).to.equal("data: plain\n\n");
  });

  it("leaves out a channel that was taken away, also when an event of it comes late", () => {
    const cursor = new SessionCursor();
    cursor.set("a", { epoch: EPOCH, offset: 1 });
    cursor.set("b", { epoch: EPOCH, offset: 5 });
    cursor.delete("a");
    expect(placesOf(cursor.id)).to.deep.equal({ [tagOf("b")]: 5 });
    cursor.frameOf(eventOf("a", 2));
    expect(placesOf(cursor.id)).to.deep.equal({ [tagOf("b")]: 5 });
    cursor.delete("b");
    expect(cursor.id).to.equal(undefined);
  });

  it("encodes an event once for all streams of its channel alone, and for others on their own", () => {
    const [one, another, both] = [new SessionCursor(), new SessionCursor(), new SessionCursor()];
    for (const cursor of [one, another, both]) cursor.set("a", { epoch: EPOCH, offset: 1 });
    both.set("b", { epoch: EPOCH, offset: 9 });
    const batch = new EventBatch("a", [eventOf("a", 2), eventOf("a", 3)], true);
    const block = one.blockOf(batch);
    expect(both.blockOf(batch).text).not.to.equal(block.text);
    expect(another.blockOf(batch)).to.equal(block);
    expect(another.id).to.equal(one.id);
    expect(placesOf(one.id)).to.deep.equal({ [tagOf("a")]: 3 });
    expect(parseEvents(block.text).map(({ id }) => placesOf(id))).to.deep.equal([
      { [tagOf("a")]: 2 },
      { [tagOf("a")]: 3 },
    ]);
  });
});
