import { expect } from "chai";

import { Backlog } from "../../../lib/backpressure/backlog.js";
import { BufferBudget } from "../../../lib/backpressure/buffer-budget.js";
import { sizeOf, type InboundEvent } from "../../../lib/events/inbound-event.js";
import { createGap } from "../../../lib/events/gap.js";
import { NO_CHANNEL } from "../../../lib/events/channel-name.js";
import type { SlowConsumerPolicy } from "../../../lib/backpressure/slow-consumer-policy.js";
import { settle } from "../../support/eventually.js";
import { EPOCH, loggedEvent, plainEvent as plain } from "../../support/inbound-events.js";

const LATER = "1badcafe";

/** Uses the first word of an event's data as the key. */
const byWord: SlowConsumerPolicy = { latestBy: ({ data }) => data.split(" ")[0]! };

describe("Backlog", () => {
  let told: unknown[][];
  let failed: string[];
  let budget: BufferBudget;

  beforeEach(() => {
    told = [];
    failed = [];
    budget = new BufferBudget(Infinity);
  });

  describe("drop-oldest", () => {
    it("reports one gap for all channels without history, and one gap with a position for each other channel", () => {
      const backlog = create("drop-oldest", 1);
      push(backlog, plain("p", "1"), logged("a", 5), plain("q", "2"), logged("b", 8), logged("a", 6));
      push(backlog, plain("q", "3"));
      expect(rest(backlog)).to.deep.equal(["gap a @6", "gap b @8", "gap p,q", "3"]);
      expect(told).to.deep.equal([
        ["slow-consumer", ["a"]],
        ["slow-consumer", ["b"]],
        ["slow-consumer", ["p", "q"]],
      ]);
    });
  });

  describe("latest", () => {
    it("drops the oldest events if there are more channels than fit", () => {
      const backlog = create("latest", 2);
      push(backlog, plain("a", "1"), plain("b", "2"), plain("c", "3"));
      expect(rest(backlog)).to.deep.equal(["gap a", "2", "3"]);
    });
  });

  describe("latestBy", () => {
    it("passes the channel, the type and the data to latestBy", () => {
      const seen: unknown[] = [];
      const backlog = create({ latestBy: (event) => String(seen.push(event)) }, 10);
      push(backlog, { ...plain("a", "1"), event: "tick" });
      expect(seen).to.deep.equal([{ channel: "a", event: "tick", data: "1" }]);
    });

    it("accepts numbers as keys", () => {
      const latestBy = ({ data }: { data: string }) => (JSON.parse(data) as { id: string }).id;
      const backlog = create({ latestBy }, 10);
      push(backlog, ...['{"id":1}', '{"id":2}', '{"id":1,"n":2}'].map((data) => plain("a", data)));
      expect(rest(backlog)).to.deep.equal(["gap a", '{"id":2}', '{"id":1,"n":2}']);
    });

    const FAULTY: readonly (readonly [what: string, latestBy: () => unknown, isFailure: boolean])[] = [
      ["throws", () => expect.fail("its own fault"), true],
      ["returns a promise that rejects", () => Promise.reject(new Error("nobody handles it")), true],
      ["returns undefined", () => undefined, false],
      ["returns an object", () => ({ toString: () => expect.fail("asked for its text") }), false],
    ];
    for (const [what, latestBy, isFailure] of FAULTY) {
      it(`keeps the newest event of the channel if latestBy ${what} (${isFailure ? "counted" : "not counted"} as an error)`, async () => {
        const backlog = create({ latestBy: latestBy as () => string }, 10);
        push(backlog, plain("a", "1"), plain("b", "2"), plain("a", "3"));
        expect(rest(backlog)).to.deep.equal(["gap a", "2", "3"]);
        expect(failed).to.deep.equal(isFailure ? Array(3).fill("latestBy") : []);
        // The root hook fails this test if a rejection is unhandled.
        await settle();
      });
    }
  });

  for (const policy of ["drop-oldest", "latest", byWord] as const) {
    describe(`every dropping policy (${typeof policy === "object" ? "latestBy" : policy})`, () => {
      it("never drops events of session.send(), control events or last events", () => {
        const backlog = create(policy, 1);
        const end: InboundEvent = { ...logged("a", 3), ending: "completed" };
        const last: InboundEvent = { ...plain("b", "last"), isLast: true };
        push(backlog, plain(NO_CHANNEL, "own 1"), createGap(["x"], "interrupted"), plain("a", "1"));
        push(backlog, { ...tooLarge("a", 2) }, plain(NO_CHANNEL, "own 2"), plain("a", "2"), end, last);
        push(backlog, plain("b", "later"));
        expect(backlog.relieve()).to.equal(true);
        expect(rest(backlog)).to.deep.equal([
          "gap a,b",
          "own 1",
          "gap x",
          "gap a @2",
          "own 2",
          "a 3",
          "last",
        ]);
      });

      it("keeps no event and no gap of a removed channel", () => {
        const backlog = create(policy, 10);
        push(backlog, logged("a", 4), plain("b", "b 1"));
        backlog.relieve();
        push(backlog, logged("a", 5), plain("b", "b 2"));
        backlog.forget("a");
        expect(backlog.dropped).to.equal(3);
        expect(rest(backlog)).to.deep.equal(["gap b", "b 2"]);
        expect(told).to.deep.equal([["slow-consumer", ["b"]]]);
      });

      it("counts cleared events as dropped and reports no gap", () => {
        const backlog = create(policy, 10);
        push(backlog, plain("a", "a 1"));
        backlog.relieve();
        push(backlog, plain("b", "b 1"), plain(NO_CHANNEL, "own"));
        backlog.clear();
        expect(backlog.dropped).to.equal(3);
        expect(backlog.bytes).to.equal(0);
        expect(backlog.isEmpty).to.equal(true);
        expect(rest(backlog)).to.deep.equal([]);
        expect(told).to.deep.equal([]);
      });
    });
  }

  describe("position of a gap", () => {
    const CASES: readonly (readonly [
      says: string,
      policy: SlowConsumerPolicy,
      room: number,
      events: readonly InboundEvent[],
      written: readonly string[],
    ])[] = [
      [
        "is the last dropped event if all buffered events come after it",
        "drop-oldest",
        2,
        [5, 6, 7, 8].map((offset) => logged("a", offset)),
        ["gap a @6", "a 7", "a 8"],
      ],
      [
        // A client that resumes after 5 gets 6 and 7. If its id were 6 before it has 5, it would never get 5.
        "is before the buffered events if an event after them was dropped",
        byWord,
        10,
        [logged("a", 5, "x"), logged("a", 6, "y"), logged("a", 7, "y")],
        ["gap a @4", "x", "y"],
      ],
      [
        // Events 2, 4 and 5 are buffered. Events 1 and 3 are lost.
        "is the last event that was dropped before all buffered events",
        byWord,
        10,
        ["x 1", "y 2", "z 3", "x 4", "z 5"].map((data, index) => logged("a", index + 1, data)),
        ["gap a @1", "y 2", "x 4", "z 5"],
      ],
      [
        // The client keeps its id until the gap for 5. Then it gets 7, or 6 and 7 if it reconnects in between.
        "is missing if a gap of another reason with a position is buffered",
        "drop-oldest",
        1,
        [tooLarge("a", 5), logged("a", 6), logged("a", 7)],
        ["gap a", "gap a @5", "a 7"],
      ],
      [
        "is missing for the old log if the buffered events start a new log",
        "drop-oldest",
        1,
        [logged("a", 9), anew("a"), logged("a", 1, "first", LATER), logged("a", 2, "second", LATER)],
        ["gap a", `gap a @0 ${LATER}`, "second"],
      ],
      [
        "is not after buffered events of the old log if an event of the new log was replaced",
        byWord,
        10,
        [logged("a", 9, "x"), anew("a"), logged("a", 1, "y", LATER), logged("a", 2, "y", LATER)],
        ["gap a", "x", `gap a @0 ${LATER}`, "y"],
      ],
      [
        "is in the new log if the gap covers dropped events of both logs",
        "drop-oldest",
        0,
        [logged("a", 9), logged("a", 1, "1", LATER), plain("b", "")],
        [`gap a @1 ${LATER}`, ""],
      ],
      [
        "does not go back for an event without a position in a channel with history",
        "drop-oldest",
        0,
        [logged("a", 9), plain("a", "unlogged"), plain("b", "")],
        ["gap a @9", ""],
      ],
    ];
    for (const [says, policy, room, events, written] of CASES) {
      it(says, () => {
        const backlog = create(policy, room);
        push(backlog, ...events);
        expect(rest(backlog)).to.deep.equal(written);
      });
    }
  });

  /** Returns a backlog with room for this number of small events. */
  function create(policy: SlowConsumerPolicy, room: number): Backlog {
    return new Backlog({
      policy,
      maxBytes: room * SIZE,
      onGap: (...gap) => told.push(gap),
      budget,
      onRuleFailure: (rule) => failed.push(rule),
    });
  }
});

const SIZE = sizeOf(plain("a", "a 1"));

function push(backlog: Backlog, ...events: readonly InboundEvent[]): void {
  for (const event of events) backlog.push(event);
}

function logged(channel: string, offset: number, data = `${channel} ${offset}`, epoch = EPOCH): InboundEvent {
  return loggedEvent(channel, offset, { data, epoch });
}

/** Returns the gap that replaces an event that is too large. */
function tooLarge(channel: string, offset: number): InboundEvent {
  return { ...createGap([channel], "too-large", channel), position: { epoch: EPOCH, offset } };
}

/** Returns the gap that starts a new log. */
function anew(channel: string): InboundEvent {
  return { ...createGap([channel], "epoch", channel), position: { epoch: LATER, offset: 0 } };
}

/** Takes all buffered events and returns their labels. */
function rest(backlog: Backlog): readonly string[] {
  const labels: string[] = [];
  for (let event = backlog.shift(); event !== undefined; event = backlog.shift()) labels.push(label(event));
  return labels;
}

function label({ event, data, position }: InboundEvent): string {
  if (event !== "gap") return data;
  const { channels } = JSON.parse(data) as { channels: string[] };
  const epoch = position === undefined || position.epoch === EPOCH ? "" : ` ${position.epoch}`;
  return `gap ${channels.join(",")}${position === undefined ? "" : ` @${position.offset}${epoch}`}`;
}
