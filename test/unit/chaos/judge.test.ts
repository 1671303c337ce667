import { expect } from "chai";

import { encodeEventId, tagOf } from "../../../lib/sse/event-id.js";
import { isLive } from "../../chaos/channels.js";
import { judge } from "../../chaos/judge.js";
import { Ledger } from "../../chaos/ledger.js";
import { Losses, NO_LOSSES } from "../../chaos/losses.js";
import { codeOf } from "../../chaos/payload.js";
import { GAP, Trail } from "../../chaos/trail.js";

/** The log of a channel: of publisher 1 the events 1 to 8, of which 3 is uncertain; then the marker. */
const EVENTS = [1, 2, 3, 4, 5, 6, 7, 8];
const UNCERTAIN = 3;
/** Of publisher 2, in the place of event 8, where it has another event in the log. */
const NEXT = 8;
const MARKER = { code: codeOf({ publisher: 0, number: 1 }), offset: 9, issuedAt: 9 };

/** An event by its number, at that place; below 0, of publisher 2. Or with its place and its stamp. */
type Received = number | readonly [number: number, place: number, stamp?: number] | "gap";

interface Given {
  /** Where the client began, and when it knew. */
  readonly beginning?: number;
  readonly begunAt?: number;
  /** Whether the marker comes last. */
  readonly ends?: boolean;
  readonly losses?: Losses;
  /** Places at which a server had acknowledged an event of publisher 2 before another took over. */
  readonly lost?: readonly number[];
  readonly speaksAgain?: boolean;
  /** Of the events in the log, by their places. */
  readonly stamps?: ReadonlyMap<number, number>;
  /** Over which connection an event came; the first otherwise. */
  readonly connectionOf?: (received: Received) => number;
  readonly isPlain?: boolean;
}

/** A judge that sees nothing would let everything pass: here is what it has to see. */
describe("what the judge finds wrong with what a client has received", () => {
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
      it(`${channel}: ${rules.length === 0 ? "allows" : "finds"} ${says}`, () => {
        expect(rulesOf(channel, received, { ...common, ...given })).to.deep.equal(rules);
      });
    }
  }

  const FOLLOWS = "places follow one another";
  const MISSING = "nothing is missing";
  const TWICE = "nothing comes twice";
  const ORDER = "nothing comes out of order";
  const HIDES = "a gap hides something";

  describe("on a channel that keeps everything", () => {
    const withoutFive = EVENTS.filter((number) => number !== 5).map(
      (number, index) => [number, index + 1] as const,
    );
    judges("channel-1", [
      ["all events in their order", EVENTS, []],
      ["all from where the client began", [6, 7, 8], [], { beginning: 5, begunAt: 5.7 }],
      ["all from where it began, though it knew later", [6, 7, 8], [], { beginning: 5, begunAt: 7 }],
      ["nothing more behind where it began", [], [], { beginning: 8, begunAt: 8.7 }],
      ["a hole in the midst", [1, 2, 3, 4, 6, 7, 8], [MISSING, FOLLOWS]],
      ["a hole at the beginning", [2, 3, 4, 5, 6, 7, 8], [MISSING, FOLLOWS]],
      ["a hole at the end", [1, 2, 3, 4, 5, 6, 7], [MISSING, FOLLOWS]],
      ["a hole behind the beginning", [7, 8], [MISSING, FOLLOWS], { beginning: 5, begunAt: 5.7 }],
      [
        "a hole by the publishers' numbers alone, where the ids lie",
        withoutFive,
        [MISSING, "what comes is what is in the log"],
      ],
      ["a hole at an uncertain event, by the places alone", [1, 2, 4, 5, 6, 7, 8], [FOLLOWS]],
      ["what comes twice", [1, 2, 2, 3, 4, 5, 6, 7, 8], [TWICE, FOLLOWS]],
      ["what comes out of order", [1, 2, 4, 3, 5, 6, 7, 8], [ORDER, FOLLOWS]],
      ["several that come again", [1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8], [ORDER, FOLLOWS]],
      ["what is not in the log", [...EVENTS, [20, 9]], ["what comes is what is in the log"]],
      ["what is not there", [...EVENTS, [20, 11]], ["the marker comes", FOLLOWS], { ends: false }],
      ["a client that has not come to the end", EVENTS, ["the marker comes"], { ends: false }],
    ]);
  });

  describe("on a channel that keeps little", () => {
    judges("tiny-0", [
      ["a hole that was told", [1, 2, "gap", 6, 7, 8], []],
      ["a hole at the beginning that was told", ["gap", 6, 7, 8], []],
      ["a hole at the end that was told", [1, 2, "gap"], []],
      ["a hole that was told elsewhere", [1, 2, "gap", 4, 5, 7, 8], [MISSING, FOLLOWS]],
      ["a hole at an uncertain event that was told afterwards", [1, 2, 4, "gap", 7, 8], [FOLLOWS]],
      ["a hole that was told afterwards", [1, 2, 5, "gap", 7, 8], [MISSING, FOLLOWS]],
      ["a repetition behind a gap", [1, 2, "gap", 2, 3, 4, 5, 6, 7, 8], [TWICE, FOLLOWS]],
      ["a gap that hides nothing", [1, 2, 3, "gap", 4, 5, 6, 7, 8], [HIDES]],
    ]);
  });

  describe("where another server may take over", () => {
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
        ["what is lost, where that was told", [1, 2, 3, -4, -5, "gap", 6, 7, 8], []],
        ["what took its place, where that was told", [1, 2, 3, "gap", 4, 5, 6, 7, 8], []],
        ["what is lost and was not told to who has had it", [1, 2, 3, -4, -5, 6, 7, 8], untold],
        [
          "what is lost and was not told to who has not had it",
          [1, 2, 3, 4, 5, 6, 7, -NEXT],
          ["what a failover loses is told by a gap"],
          { speaksAgain: true },
        ],
        ["the same where it was told", [1, 2, 3, 4, 5, 6, 7, "gap", -NEXT], [], { speaksAgain: true }],
        ["what is lost, if nobody has had it and its publisher is silent", EVENTS, []],
        ["events sent again to the same places, where it was told", [...before, "gap", ...after], [], again],
        ["events sent again to the same places, untold", [...before, ...after], [ORDER, FOLLOWS], again],
        ["what comes twice behind a gap", [1, 2, 3, -4, -5, "gap", 3, -4, -5, "gap", 6, 7, 8], [TWICE]],
        ["a lost event that comes again behind a gap", [1, 2, 3, -4, -5, "gap", -4, -5, "gap", 6, 7, 8], []],
        ["two gaps for each lost event", [...gaps, 8], []],
        ["a gap that hides nothing", [...gaps, "gap", 8], [HIDES]],
      ],
      { losses },
    );
    const ahead: readonly Received[] = [1, 2, 3, 4, 5, 6, 7, -8, -9, -10, -11];
    judges(
      "tiny-0",
      [
        ["more lost events than the log has got again", [...ahead, "gap", 8], []],
        ["the same untold", [...ahead, 8], [FOLLOWS]],
      ],
      { losses, lost: [] },
    );
  });

  describe("on a channel without history", () => {
    const UNTOLD = "nothing is missing on an open stream without a gap";
    const hole = [1, 2, 5, 6, 7, 8];
    const late = [1, 2, 4, 3, 5, 6, 7, 8];
    const lostAt = (from: number, to: number): Given => ({ losses: new Losses(true, [{ from, to }]) });
    const cutAt = (from: number, to: number): Given => ({ losses: new Losses(true, [], [{ from, to }]) });
    /** The events 3 and 4 come late, over another connection. */
    const connectionOf = (received: Received): number => (received === 3 || received === 4 ? 1 : 0);
    const lateElsewhere = [1, 2, 5, 3, 4];
    judges("live-0", [
      ["all events", EVENTS, []],
      ["all since the stream was open", [5, 6, 7, 8], [], { begunAt: 4.5 }],
      ["what comes twice", [1, 2, 3, 2, 3, 4, 5, 6, 7, 8], []],
      ["what comes twice though it was sent once", [1, 2, 2, 3, 4, 5, 6, 7, 8], [TWICE], { isPlain: true }],
      [
        "what was sent once and comes over two connections",
        [...EVENTS, [3, 99]],
        [],
        { isPlain: true, connectionOf: (received) => (typeof received === "object" ? 1 : 0) },
      ],
      ["a hole that was told", [1, 2, "gap", 5, 6, 7, 8], []],
      ["a hole", hole, [UNTOLD]],
      ["a hole at the end", [1, 2, 3, 4, 5], [UNTOLD]],
      ["a hole that was told elsewhere", [1, "gap", ...hole.slice(1)], [UNTOLD]],
      ["a hole while a server was replaced", hole, [], lostAt(3, 4)],
      ["a hole before a server was replaced", hole, [UNTOLD], lostAt(6, 9)],
      ["a hole while the bus was cut", hole, [], cutAt(3, 4)],
      ["a hole behind a cut of the bus", hole, [UNTOLD], cutAt(3, 3.9)],
      ["another order", late, [ORDER]],
      ["another order while the bus was cut", late, [ORDER], cutAt(3, 4)],
      ["another order of an event that met with a failover", late, [], lostAt(3, 3.2)],
      ["another order of an event before a failover", late, [ORDER], lostAt(4, 9)],
      ["another order of another connection to one server", lateElsewhere, [ORDER], { connectionOf }],
    ]);

    it("live-0: allows another order of another connection, which may lead to another node", () => {
      const given = { connectionOf, losses: new Losses(true, []) };
      expect(rulesOf("live-0", lateElsewhere, given)).to.not.include(ORDER);
    });
  });
});
