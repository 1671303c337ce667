import { expect } from "chai";

import { ChannelReplay } from "../../../lib/replay/channel-replay.js";
import { readInboundEvent, type InboundEvent } from "../../../lib/events/inbound-event.js";
import { EPOCH } from "../../support/inbound-events.js";

const OTHER = "0ddba11a";

const event = (offset: number | string, epoch = EPOCH): InboundEvent =>
  readInboundEvent("c", `\u001esse1\n${epoch} ${offset}\n\n${offset}`, 100)!;
const plain = (text: string): InboundEvent => readInboundEvent("c", text, 100)!;

/** Takes all consecutive events, as a session does. */
function takeAll(track: ChannelReplay): readonly string[] {
  const taken: string[] = [];
  for (let next = track.next(); next; next = track.next()) {
    if (next.position !== undefined) track.position = next.position;
    taken.push(next.data);
  }
  return taken;
}

describe("ChannelReplay", () => {
  let track: ChannelReplay;

  beforeEach(() => {
    track = new ChannelReplay("c");
    track.position = { epoch: EPOCH, offset: 5, stamp: 1_000_005 };
  });

  const verdicts: readonly (readonly [string, InboundEvent, string])[] = [
    ["the next event", event(6), "pass"],
    ["the current event", event(5), "drop"],
    ["an older event", event(1), "drop"],
    ["an event after a hole", event(7), "hole"],
    ["an event of another epoch", event(6, OTHER), "hole"],
    ["an event without a position", plain("x"), "pass"],
    ["the next event that follows the current one", event("6-10000051000006"), "pass"],
    ["the next event that follows another one", event("6-19999991000006"), "hole"],
  ];
  for (const [what, given, verdict] of verdicts) {
    it(`returns "${verdict}" for ${what}`, () => expect(track.judge(given)).to.equal(verdict));
  }

  it("returns the waiting events in order up to the first hole, without repeated events", () => {
    for (const each of [event(4), plain("a"), event(6), event(6), event(7), event(9), plain("b")]) {
      track.hold(each, 10_000);
    }
    expect(takeAll(track)).to.deep.equal(["a", "6", "7"]);
    expect(track.next(), "a hole").to.equal(null);
    track.position = { epoch: EPOCH, offset: 9 };
    expect(takeAll(track)).to.deep.equal(["b"]);
    expect(track.next(), "nothing").to.equal(undefined);
    expect(track.waitingBytes).to.equal(0);
  });

  it("drops events that the log has if it reaches the limit, and keeps the others", () => {
    const max = 2_000;
    let offset = 10;
    for (; track.waitingBytes + 250 < max; offset++) track.hold(event(offset), max);
    const full = track.waitingBytes;
    track.hold(plain("a"), max);
    track.hold(event(offset), max);
    expect(track.waitingBytes)
      .to.be.lessThan(full / 2)
      .and.greaterThan(0);
    expect(takeAll(track)).to.deep.equal(["a"]);
  });
});
