import { expect } from "chai";

import { encodeEventId, tagOf } from "../../../lib/sse/event-id.js";
import { isLive } from "../../chaos/channels.js";
import { judge } from "../../chaos/judge.js";
import { Ledger } from "../../chaos/ledger.js";
import { Losses, NO_LOSSES } from "../../chaos/losses.js";
import { codeOf } from "../../chaos/payload.js";
import { GAP, Trail } from "../../chaos/trail.js";

/** The log of a channel: events 1 to 8 of publisher 1, then the marker. Event 3 is uncertain. */
const EVENTS = [1, 2, 3, 4, 5, 6, 7, 8];
const UNCERTAIN = 3;
/** Position of an event of publisher 2 that replaces event 8 in some logs. */
const NEXT = 8;
const MARKER = { code: codeOf({ publisher: 0, number: 1 }), offset: 9, issuedAt: 9 };

/** An event number, which is also its position. Negative numbers are of publisher 2. Or with position and stamp. */
type Received = number | readonly [number: number, place: number, stamp?: number] | "gap";

interface Given {
  /** Position at which the client started, and the time at which it got it. */
  readonly beginning?: number;
  readonly begunAt?: number;
  /** Whether the marker is the last event. */
  readonly ends?: boolean;
  readonly losses?: Losses;
  /** Positions at which a server had acknowledged an event of publisher 2 before a failover. */
  readonly lost?: readonly number[];
  readonly speaksAgain?: boolean;
  /** Stamps of the events in the log, by position. */
  readonly stamps?: ReadonlyMap<number, number>;
  /** Connection on which an event arrived. Defaults to the first one. */
  readonly connectionOf?: (received: Received) => number;
  readonly isPlain?: boolean;
}

/** A judge that finds nothing would accept every run, so these tests show that it finds each fault. */
describe("judge()", () => {
  function rulesOf(channel: string, received: readonly Received[], given: Given = {}): readonly string[] {
    const { beginning = 0, begunAt = 0, losses = NO_LOSSES, speaksAgain = false, isPlain = false } = given;
    const { lost = losses.possible && !isLive(channel) ? [4, 5] : [] } = given;
    const ledger = new Ledger();
    const acknowledge = (publisher: number, number: number, offset: number): void => {
      const id = isLive(channel) ? null : encodeEventId([{ tag: tagOf(channel), epoch: "0000000a", offset }]);
      ledger.settle({ channel, publisher, number, issuedAt: offset, settledAt: offset + 0.5, id, isPlain });
    };
    for (const place of lost) acknowledge(2, place, place);
    for (const number of EVENTS) {
      const isAcknowledged = isLive(channel) || number !== UNCERTAIN;
      if (isAcknowledged && !(speaksAgain && number === NEXT)) acknowledge(1, number, number);
    }
    if (speaksAgain) acknowledge(2, NEXT, NEXT);
    if (!isLive(channel)) acknowledge(0, 1, MARKER.offset);
    const trail = new Trail(beginning, begunAt);
    trail.spans.set(0, { from: begunAt, to: 100_000 });
    for (const each of received) {
      const connection = given.connectionOf?.(each) ?? 0;
      if (each === "gap") {
        trail.push(GAP, 0, connection);
        continue;
      }
      const [number, place, stamp] = typeof each === "number" ? [each, Math.abs(each)] : each;
      const code = codeOf({ publisher: number < 0 ? 2 : 1, number: Math.abs(number) });
      trail.push(code, place, connection, stamp);
    }
    if ((given.ends ?? true) && !isLive(channel)) trail.push(MARKER.code, MARKER.offset, 0);
    const places = new Map(EVENTS.map((number) => [number, codeOf({ publisher: 1, number })]));
    places.set(MARKER.offset, MARKER.code);
    if (speaksAgain) places.set(NEXT, codeOf({ publisher: 2, number: NEXT }));
    const { stamps = new Map() } = given;
    const lostPlaces = new Set(lost);
    const evidence = { channel, ledger, places, stamps, marker: MARKER, losses, lostPlaces };
    return judge(trail, evidence).map(({ rule }) => rule);
  }

  type Case = readonly [says: string, received: readonly Received[], rules: readonly string[], given?: Given];

  function judges(channel: string, cases: readonly Case[], common: Given = {}): void {
    for (const [says, received, rules, given] of cases) {
      it(`${rules.length === 0 ? "accepts" : "reports"} ${says} (${channel})`, () => {
        expect(rulesOf(channel, received, { ...common, ...given })).to.deep.equal(rules);
      });
    }
  }

  const FOLLOWS = "places follow one another";
  const MISSING = "nothing is missing";
  const TWICE = "nothing comes twice";
  const ORDER = "nothing comes out of order";
  const HIDES = "a gap hides something";

  describe("channel that keeps all events", () => {
    const withoutFive = EVENTS.filter((number) => number !== 5).map(
      (number, index) => [number, index + 1] as const,
    );
    judges("channel-1", [
      ["all events in order", EVENTS, []],
      ["all events after the client's start position", [6, 7, 8], [], { beginning: 5, begunAt: 5.7 }],
      ["all events if the client got its start position later", [6, 7, 8], [], { beginning: 5, begunAt: 7 }],
      ["no events if the client starts at the end", [], [], { beginning: 8, begunAt: 8.7 }],
      ["a hole in the middle", [1, 2, 3, 4, 6, 7, 8], [MISSING, FOLLOWS]],
      ["a hole at the beginning", [2, 3, 4, 5, 6, 7, 8], [MISSING, FOLLOWS]],
      ["a hole at the end", [1, 2, 3, 4, 5, 6, 7], [MISSING, FOLLOWS]],
      ["a hole after the start position", [7, 8], [MISSING, FOLLOWS], { beginning: 5, begunAt: 5.7 }],
      [
        "a hole that only the publishers' numbers show, because the ids are wrong",
        withoutFive,
        [MISSING, "what comes is what is in the log"],
      ],
      ["a hole at an uncertain event that only the positions show", [1, 2, 4, 5, 6, 7, 8], [FOLLOWS]],
      ["a repeated event", [1, 2, 2, 3, 4, 5, 6, 7, 8], [TWICE, FOLLOWS]],
      ["events in the wrong order", [1, 2, 4, 3, 5, 6, 7, 8], [ORDER, FOLLOWS]],
      ["several repeated events", [1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8], [ORDER, FOLLOWS]],
      ["an event that is not in the log", [...EVENTS, [20, 9]], ["what comes is what is in the log"]],
      [
        "an event after the end of the log",
        [...EVENTS, [20, 11]],
        ["the marker comes", FOLLOWS],
        { ends: false },
      ],
      ["a client that did not get the marker", EVENTS, ["the marker comes"], { ends: false }],
    ]);
  });

  describe("channel that keeps few events", () => {
    judges("tiny-0", [
      ["a hole with a gap", [1, 2, "gap", 6, 7, 8], []],
      ["a hole at the beginning with a gap", ["gap", 6, 7, 8], []],
      ["a hole at the end with a gap", [1, 2, "gap"], []],
      ["a hole with a gap elsewhere", [1, 2, "gap", 4, 5, 7, 8], [MISSING, FOLLOWS]],
      ["a hole at an uncertain event with a later gap", [1, 2, 4, "gap", 7, 8], [FOLLOWS]],
      ["a hole with a later gap", [1, 2, 5, "gap", 7, 8], [MISSING, FOLLOWS]],
      ["a repeated event after a gap", [1, 2, "gap", 2, 3, 4, 5, 6, 7, 8], [TWICE, FOLLOWS]],
      ["a gap without a missing event", [1, 2, 3, "gap", 4, 5, 6, 7, 8], [HIDES]],
    ]);
  });

  describe("topology with failover", () => {
    const losses = new Losses(true, [{ from: 0, to: 10 }]);
    const stamps = new Map([6, 7, 8].map((place) => [place, 200 + place] as const));
    const before: readonly Received[] = [1, 2, 3, 4, 5, [6, 6, 106], [7, 7, 107]];
    const after = [6, 7, 8].map((place) => [place, place, 200 + place] as const);
    const untold = [MISSING, "what a failover takes back is told by a gap"];
    const gaps = [1, 2, 3, -4, -5, "gap", "gap", "gap", 6, "gap", 7] as const;
    const again = { stamps, lost: [] };
    judges(
      "channel-1",
      [
        ["lost events with a gap", [1, 2, 3, -4, -5, "gap", 6, 7, 8], []],
        ["events that replaced lost events, with a gap", [1, 2, 3, "gap", 4, 5, 6, 7, 8], []],
        ["lost events without a gap for a client that got them", [1, 2, 3, -4, -5, 6, 7, 8], untold],
        [
          "lost events without a gap for a client that did not get them",
          [1, 2, 3, 4, 5, 6, 7, -NEXT],
          ["what a failover loses is told by a gap"],
          { speaksAgain: true },
        ],
        [
          "lost events with a gap for a client that did not get them",
          [1, 2, 3, 4, 5, 6, 7, "gap", -NEXT],
          [],
          { speaksAgain: true },
        ],
        ["lost events that no client got and whose publisher published nothing later", EVENTS, []],
        [
          "events that were resent to the same positions, with a gap",
          [...before, "gap", ...after],
          [],
          again,
        ],
        [
          "events that were resent to the same positions, without a gap",
          [...before, ...after],
          [ORDER, FOLLOWS],
          again,
        ],
        ["a repeated event after a gap", [1, 2, 3, -4, -5, "gap", 3, -4, -5, "gap", 6, 7, 8], [TWICE]],
        ["a lost event that is repeated after a gap", [1, 2, 3, -4, -5, "gap", -4, -5, "gap", 6, 7, 8], []],
        ["two gaps for each lost event", [...gaps, 8], []],
        ["a gap without a missing event", [...gaps, "gap", 8], [HIDES]],
      ],
      { losses },
    );
    const ahead: readonly Received[] = [1, 2, 3, 4, 5, 6, 7, -8, -9, -10, -11];
    judges(
      "tiny-0",
      [
        ["more lost events than the new log contains, with a gap", [...ahead, "gap", 8], []],
        ["more lost events than the new log contains, without a gap", [...ahead, 8], [FOLLOWS]],
      ],
      { losses, lost: [] },
    );
  });

  describe("channel without history", () => {
    const UNTOLD = "nothing is missing on an open stream without a gap";
    const hole = [1, 2, 5, 6, 7, 8];
    const late = [1, 2, 4, 3, 5, 6, 7, 8];
    const lostAt = (from: number, to: number): Given => ({ losses: new Losses(true, [{ from, to }]) });
    const cutAt = (from: number, to: number): Given => ({ losses: new Losses(true, [], [{ from, to }]) });
    /** Events 3 and 4 arrive late, on another connection. */
    const connectionOf = (received: Received): number => (received === 3 || received === 4 ? 1 : 0);
    const lateElsewhere = [1, 2, 5, 3, 4];
    judges("live-0", [
      ["all events", EVENTS, []],
      ["all events since the stream was opened", [5, 6, 7, 8], [], { begunAt: 4.5 }],
      ["a repeated event", [1, 2, 3, 2, 3, 4, 5, 6, 7, 8], []],
      ["a repeated event that was sent only once", [1, 2, 2, 3, 4, 5, 6, 7, 8], [TWICE], { isPlain: true }],
      [
        "an event that was sent once and arrives on two connections",
        [...EVENTS, [3, 99]],
        [],
        { isPlain: true, connectionOf: (received) => (typeof received === "object" ? 1 : 0) },
      ],
      ["a hole with a gap", [1, 2, "gap", 5, 6, 7, 8], []],
      ["a hole", hole, [UNTOLD]],
      ["a hole at the end", [1, 2, 3, 4, 5], [UNTOLD]],
      ["a hole with a gap elsewhere", [1, "gap", ...hole.slice(1)], [UNTOLD]],
      ["a hole while a server was replaced", hole, [], lostAt(3, 4)],
      ["a hole before a server was replaced", hole, [UNTOLD], lostAt(6, 9)],
      ["a hole while the cluster bus was cut", hole, [], cutAt(3, 4)],
      ["a hole after a cut of the cluster bus", hole, [UNTOLD], cutAt(3, 3.9)],
      ["another order", late, [ORDER]],
      ["another order while the cluster bus was cut", late, [ORDER], cutAt(3, 4)],
      ["another order of an event during a failover", late, [], lostAt(3, 3.2)],
      ["another order of an event before a failover", late, [ORDER], lostAt(4, 9)],
      ["another order on another connection to the same server", lateElsewhere, [ORDER], { connectionOf }],
    ]);

    it("accepts another order on a connection that may lead to another node (live-0)", () => {
      const given = { connectionOf, losses: new Losses(true, []) };
      expect(rulesOf("live-0", lateElsewhere, given)).to.not.include(ORDER);
    });
  });
});
