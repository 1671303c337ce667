import { expect } from "chai";

import type { LogState } from "../../../lib/replay/history-port.js";
import { readInboundEvent, type InboundEvent } from "../../../lib/events/inbound-event.js";
import { LogHead } from "../../../lib/replay/log-head.js";
import { EPOCH } from "../../support/inbound-events.js";
import { logState } from "../../support/log-state.js";

const OTHER = "0ddba11a";

const heard = (offset: number | string, epoch = EPOCH, ending = ""): InboundEvent =>
  readInboundEvent("c", `\u001esse1\n${epoch} ${offset}${ending && ` ${ending}`}\n\nx`, 100)!;
const at = (offset: number, readAt: number, epoch = EPOCH, given: Partial<LogState> = {}): LogState => ({
  ...logState({ epoch, offset }, { readAt }),
  ...given,
});

describe("LogHead", () => {
  let tracker: LogHead;
  const top = (): number | null => tracker.tail?.position.offset ?? null;

  beforeEach(() => {
    tracker = new LogHead();
  });

  it("has no tail before its channel is subscribed, even after a read", () => {
    expect(tracker.since).to.equal(Infinity);
    tracker.note(at(5, 100));
    expect(tracker.tail).to.equal(null);
  });

  it("accepts a read that starts after the subscription, but no earlier read", () => {
    tracker.established(3);
    tracker.note(at(5, 3));
    expect(top(), "started before").to.equal(null);
    tracker.note(at(5, 4));
    expect(top()).to.equal(5);
  });

  it("advances with live events", () => {
    tracker.established(0);
    tracker.note(at(5, 1, EPOCH, { finite: true }));
    tracker.heard(heard(6), 1);
    tracker.heard(heard(7, EPOCH, "completed"), 1);
    expect(tracker.tail).to.deep.equal({
      position: { epoch: EPOCH, offset: 7 },
      ending: "completed",
      finite: true,
      at: 1_000,
      isInvalid: false,
      run: 0,
      mayHaveLost: false,
    });
  });

  it("keeps the time of the latest read without a log", () => {
    const none = (since: number, readAt: number) => ({
      ...at(0, readAt, "", { at: since }),
      position: { epoch: "", offset: 0, since },
    });
    tracker.established(0);
    tracker.note(none(500, 1));
    tracker.note(none(900, 2));
    expect(tracker.tail?.position.since).to.equal(900);
    tracker.heard(heard(1), 2);
    expect(tracker.tail, "a new log needs a read").to.equal(null);
    tracker.note(at(1, 3));
    expect(tracker.tail?.position).to.deep.equal({ epoch: EPOCH, offset: 1 });
  });

  it("does not go back for events or reads that are older than the tail", () => {
    tracker.established(0);
    tracker.note(at(5, 1));
    tracker.heard(heard(3), 1);
    tracker.heard(heard(5), 1);
    tracker.note(at(4, 2, EPOCH, { finite: true, ending: "completed" }));
    expect(tracker.tail).to.deep.equal({ ...tracker.tail, position: { epoch: EPOCH, offset: 5 } });
    expect(tracker.tail).to.deep.include({ finite: true, ending: "completed" });
  });

  it("adds live events that arrived during a read", () => {
    tracker.established(0);
    tracker.heard(heard(6), 0);
    tracker.heard(heard(7), 0);
    tracker.note(at(5, 1));
    expect(top(), "the events that follow").to.equal(7);
  });

  it("does not add live events after a hole or of another epoch", () => {
    tracker.established(0);
    tracker.heard(heard(9), 0);
    tracker.note(at(5, 1));
    expect(top(), "not in the log").to.equal(5);
    tracker.lost();
    tracker.established(1);
    tracker.heard(heard(9, OTHER), 1);
    tracker.note(at(5, 2));
    expect(tracker.tail?.position).to.deep.equal({ epoch: EPOCH, offset: 5 });
  });

  it("needs a new read after the first event of a log, because only the log says if it is finite", () => {
    tracker.established(0);
    tracker.note(at(0, 1));
    tracker.heard(heard(1), 1);
    expect(tracker.tail).to.equal(null);
    tracker.note(at(1, 1));
    expect(tracker.tail, "started before").to.equal(null);
    tracker.note(at(1, 2, EPOCH, { finite: true }));
    expect(tracker.tail?.finite).to.equal(true);
  });

  it("has no tail after the connection is lost until a read after the next subscription", () => {
    tracker.established(0);
    tracker.note(at(5, 1));
    tracker.lost();
    expect({ tail: tracker.tail, since: tracker.since }).to.deep.equal({ tail: null, since: Infinity });
    tracker.heard(heard(9), 3);
    tracker.note(at(9, 4));
    expect(tracker.tail).to.equal(null);
    tracker.established(4);
    tracker.note(at(9, 5));
    expect(top()).to.equal(9);
  });

  it("has no tail after an event that follows another event than the known one", () => {
    tracker.established(0);
    tracker.note({ ...at(5, 1), position: { epoch: EPOCH, offset: 5, stamp: 1_000_005 } });
    tracker.heard(heard("6-10000051000006"), 1);
    expect(top()).to.equal(6);
    tracker.heard(heard("7-19999991000007"), 2);
    expect([top(), tracker.since]).to.deep.equal([null, 2]);
  });

  it("accepts a read with another event at the newest position", () => {
    tracker.established(0);
    tracker.note({ ...at(5, 1), position: { epoch: EPOCH, offset: 5, stamp: 1_000_005 } });
    const found = { epoch: EPOCH, offset: 5, stamp: 1_999_999 };
    tracker.note({ ...at(5, 2), position: found });
    expect(tracker.tail?.position).to.deep.equal(found);
  });

  it("returns the position to which the log has rolled back at the first event that replaces a lost one", () => {
    tracker.established(0);
    for (const id of ["3-1000003", "4-10000031000004", "5-10000041000005"]) tracker.heard(heard(id), 1);
    expect(tracker.lastKept({ epoch: EPOCH, offset: 5 })).to.equal(null);
    const to = { epoch: EPOCH, offset: 3, stamp: 1_000_003 };
    expect(tracker.heard(heard("4-10000031999999"), 1)).to.deep.equal({ to });
    tracker.rolledBack(to);
    expect(tracker.since).to.equal(Infinity);
    for (const [offset, expected] of [
      [3, null],
      [4, to],
      [5, to],
      [6, null],
    ] as const) {
      expect(tracker.lastKept({ epoch: EPOCH, offset }), `of ${offset}`).to.equal(expected);
    }
    expect(tracker.lastKept({ epoch: OTHER, offset: 5 })).to.equal(null);
  });

  it("ignores a repeated event and returns a suspicion for an old event that it does not remember", () => {
    tracker.established(0);
    const id = (offset: number): string => `${offset}-${1_000_000 + offset - 1}${1_000_000 + offset}`;
    for (let offset = 2; offset <= 30; offset++) tracker.heard(heard(id(offset)), 1);
    expect(tracker.heard(heard(id(28)), 1)).to.equal(null);
    expect(tracker.heard(heard(28), 1), "without a stamp").to.deep.equal({ to: null });
    expect(tracker.heard(heard(id(3)), 1), "long ago").to.deep.equal({ to: null });
    tracker.heard(heard(id(40)), 1);
    expect(tracker.heard(heard(id(29)), 1), "before a hole").to.deep.equal({ to: null });
  });
});
