import { expect } from "chai";

import { encodeEventId, tagOf } from "../../../lib/sse/event-id.js";
import { judge } from "../../chaos/judge.js";
import { Ledger } from "../../chaos/ledger.js";
import { Losses, NO_LOSSES } from "../../chaos/losses.js";
import { codeOf } from "../../chaos/payload.js";
import { GAP, Trail } from "../../chaos/trail.js";

/** The log of a channel: of publisher 1 the events 1 to 8, of which 3 is uncertain; then the marker. */
const EVENTS = [1, 2, 3, 4, 5, 6, 7, 8];
const UNCERTAIN = 3;
/** Of publisher 2, where servers lose events: this and the next, at the same places as those of publisher 1. */
const LOST = 4;
/** Of the publisher of the lost events, in the place of event 8. */
const NEXT = 8;
const MARKER = { code: codeOf({ publisher: 0, number: 1 }), offset: 9, issuedAt: 9 };

/** A chaos test that sees nothing would pass as well: here is what it has to see. */
describe("what the chaos test finds wrong with what a client has received", () => {
  /** Each event is `[number, place]`, in order, of publisher 2 below 0; "gap" is one; the marker follows by itself. */
  /** Number, place and stamp of an event. */
  type Received = readonly (readonly [number, number, number?] | "gap")[];

  function rulesOf(
    channel: string,
    received: Received,
    {
      beginning = 0,
      begunAt = 0,
      ends = true,
      losses = NO_LOSSES,
      speaksAgain = false,
      stamps = new Map<number, number>(),
      places: lostAt = [LOST, LOST + 1],
    } = {},
  ): string[] {
    const ledger = new Ledger();
    const acknowledge = (publisher: number, number: number, offset: number): void => {
      const id = encodeEventId([{ tag: tagOf(channel), epoch: "0000000a", offset }]);
      ledger.settle({ channel, publisher, number, issuedAt: offset, settledAt: offset + 0.5, id });
    };
    // Two that a server had acknowledged from which another took over: others have their places now.
    if (losses.possible) for (const number of lostAt) acknowledge(2, number, number);
    const own = EVENTS.filter((number) => number !== UNCERTAIN && !(speaksAgain && number === NEXT));
    for (const number of own) acknowledge(1, number, number);
    // The publisher of the lost events has another one in the log.
    if (speaksAgain) acknowledge(2, NEXT, NEXT);
    acknowledge(0, 1, MARKER.offset);
    const trail = new Trail(beginning, begunAt);
    for (const entry of received) {
      if (entry === "gap") trail.push(GAP, 0, 0);
      else if (entry[0] < 0) trail.push(codeOf({ publisher: 2, number: -entry[0] }), entry[1], 0);
      else trail.push(codeOf({ publisher: 1, number: entry[0] }), entry[1], 0, entry[2]);
    }
    if (ends) trail.push(MARKER.code, MARKER.offset, 0);
    const places = new Map(EVENTS.map((number) => [number, codeOf({ publisher: 1, number })]));
    places.set(MARKER.offset, MARKER.code);
    if (speaksAgain) places.set(NEXT, codeOf({ publisher: 2, number: NEXT }));
    const evidence = {
      channel,
      ledger,
      places,
      stamps,
      marker: MARKER,
      losses,
      lostPlaces: new Set(losses.possible ? lostAt : []),
    };
    return judge(trail, evidence).map(({ rule }) => rule);
  }

  const at = (...numbers: number[]): Received => numbers.map((number) => [number, number] as const);

  it("nothing with all events in their order, from the beginning or from where the client began", () => {
    expect(rulesOf("channel-1", at(...EVENTS))).to.deep.equal([]);
    expect(rulesOf("channel-1", at(6, 7, 8), { beginning: 5, begunAt: 5.7 })).to.deep.equal([]);
    expect(rulesOf("channel-1", at(6, 7, 8), { beginning: 5, begunAt: 7 })).to.deep.equal([]);
    expect(rulesOf("channel-1", at(), { beginning: 8, begunAt: 8.7 })).to.deep.equal([]);
  });

  it("a hole: in the midst, at the beginning, at the end", () => {
    const rules = ["nothing is missing", "places follow one another"];
    expect(rulesOf("channel-1", at(1, 2, 3, 4, 6, 7, 8))).to.deep.equal(rules);
    expect(rulesOf("channel-1", at(2, 3, 4, 5, 6, 7, 8))).to.deep.equal(rules);
    expect(rulesOf("channel-1", at(1, 2, 3, 4, 5, 6, 7))).to.deep.equal(rules);
    expect(rulesOf("channel-1", at(7, 8), { beginning: 5, begunAt: 5.7 })).to.deep.equal(rules);
  });

  it("a hole by the publishers' numbers alone, should the ids lie", () => {
    const received = EVENTS.filter((number) => number !== 5).map(
      (number, index) => [number, index + 1] as const,
    );
    expect(rulesOf("channel-1", received)).to.include("nothing is missing");
  });

  it("a hole at an uncertain event that is in the log, by the places alone", () => {
    expect(rulesOf("channel-1", at(1, 2, 4, 5, 6, 7, 8))).to.deep.equal(["places follow one another"]);
  });

  it("what comes twice, or out of order", () => {
    const rules = (rule: string): string[] => [rule, "places follow one another"];
    expect(rulesOf("channel-1", at(1, 2, 2, 3, 4, 5, 6, 7, 8))).to.deep.equal(rules("nothing comes twice"));
    expect(rulesOf("channel-1", at(1, 2, 4, 3, 5, 6, 7, 8))).to.deep.equal(
      rules("nothing comes out of order"),
    );
    expect(rulesOf("channel-1", at(1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8))).to.deep.equal(
      rules("nothing comes out of order"),
    );
  });

  it("what is not in the log, or not there", () => {
    expect(rulesOf("channel-1", [...at(...EVENTS), [20, 9]])).to.include("what comes is what is in the log");
    expect(rulesOf("channel-1", [...at(...EVENTS), [20, 10]], { ends: false })).to.include(
      "places follow one another",
    );
  });

  it("a client that has not come to the end", () => {
    expect(rulesOf("channel-1", at(...EVENTS), { ends: false })).to.deep.equal(["the marker comes"]);
  });

  it("on a channel that keeps little, nothing with a hole that was told", () => {
    expect(rulesOf("tiny-0", [...at(1, 2), "gap", ...at(6, 7, 8)])).to.deep.equal([]);
    expect(rulesOf("tiny-0", ["gap", ...at(6, 7, 8)])).to.deep.equal([]);
    expect(rulesOf("tiny-0", [...at(1, 2), "gap"])).to.deep.equal([]);
  });

  it("on a channel that keeps little, a hole that was told elsewhere or only afterwards, and a repetition", () => {
    const rules = ["nothing is missing", "places follow one another"];
    expect(rulesOf("tiny-0", [...at(1, 2), "gap", ...at(4, 5, 7, 8)])).to.deep.equal(rules);
    expect(rulesOf("tiny-0", [...at(1, 2, 4), "gap", ...at(7, 8)])).to.include("places follow one another");
    expect(rulesOf("tiny-0", [...at(1, 2, 5), "gap", ...at(7, 8)])).to.deep.equal(rules);
    expect(rulesOf("tiny-0", [...at(1, 2), "gap", ...at(2, 3, 4, 5, 6, 7, 8)])).to.include(
      "nothing comes twice",
    );
  });

  it("on a channel that keeps little, a gap that hides nothing", () => {
    expect(rulesOf("tiny-0", [...at(1, 2, 3), "gap", ...at(4, 5, 6, 7, 8)])).to.deep.equal([
      "a gap hides something",
    ]);
  });

  describe("where another server may take over", () => {
    const losses = new Losses(true, [{ from: 0, to: 10 }]);
    const lost = [LOST, LOST + 1].map((place) => [-place, place] as const);

    it("nothing with what is lost, or with what took its place and was not sent, where that was told", () => {
      const told = [...at(1, 2, 3), ...lost, "gap", ...at(6, 7, 8)] as const;
      expect(rulesOf("channel-1", told, { losses })).to.deep.equal([]);
      expect(rulesOf("channel-1", [...at(1, 2, 3), "gap", ...at(4, 5, 6, 7, 8)], { losses })).to.deep.equal(
        [],
      );
    });

    it("what is lost and was not told, to whom has had it and to whom has not", () => {
      expect(rulesOf("channel-1", [...at(1, 2, 3), ...lost, ...at(6, 7, 8)], { losses })).to.include.members([
        "nothing is missing",
        "what a failover takes back is told by a gap",
      ]);
      const next = [-NEXT, NEXT] as const;
      expect(
        rulesOf("channel-1", [...at(1, 2, 3, 4, 5, 6, 7), next], { losses, speaksAgain: true }),
      ).to.deep.equal(["what a failover loses is told by a gap"]);
      const told = [...at(1, 2, 3, 4, 5, 6, 7), "gap", next] as const;
      expect(rulesOf("channel-1", told, { losses, speaksAgain: true })).to.deep.equal([]);
    });

    it("nothing with more lost events than the log has got again, where it keeps little", () => {
      const ahead = [8, 9, 10, 11].map((place) => [-place, place] as const);
      const received = [...at(1, 2, 3, 4, 5, 6, 7), ...ahead] as const;
      expect(rulesOf("tiny-0", [...received, "gap", ...at(8)], { losses, places: [] })).to.deep.equal([]);
      expect(rulesOf("tiny-0", [...received, ...at(8)], { losses, places: [] })).to.not.deep.equal([]);
    });

    it("nothing with what is lost, if nobody has had it, and its publisher has published nothing more", () => {
      expect(rulesOf("channel-1", at(...EVENTS), { losses })).to.deep.equal([]);
    });

    it("nothing with events that were lost, and were sent again to the same places", () => {
      const stamps = new Map([6, 7, 8].map((place) => [place, 200 + place] as const));
      const before = [...at(1, 2, 3, 4, 5), [6, 6, 106], [7, 7, 107]] as const;
      const after = [6, 7, 8].map((place) => [place, place, 200 + place] as const);
      expect(
        rulesOf("channel-1", [...before, "gap", ...after], { losses, stamps, places: [] }),
      ).to.deep.equal([]);
      expect(rulesOf("channel-1", [...before, ...after], { losses, stamps, places: [] })).to.not.deep.equal(
        [],
      );
    });

    it("nothing with a lost event that comes again behind a gap", () => {
      const again = [...at(1, 2, 3), ...lost, "gap", ...at(3), ...lost, "gap", ...at(6, 7, 8)] as const;
      expect(rulesOf("channel-1", again, { losses })).to.deep.equal(["nothing comes twice"]);
      const only = [...at(1, 2, 3), ...lost, "gap", ...lost, "gap", ...at(6, 7, 8)] as const;
      expect(rulesOf("channel-1", only, { losses })).to.deep.equal([]);
    });

    it("a gap that hides nothing", () => {
      const received = [...at(1, 2, 3), ...lost, "gap", "gap", "gap", ...at(6), "gap", ...at(7)] as const;
      expect(
        rulesOf("channel-1", [...received, ...at(8)], { losses }),
        "two for each lost event",
      ).to.deep.equal([]);
      expect(rulesOf("channel-1", [...received, "gap", ...at(8)], { losses })).to.deep.equal([
        "a gap hides something",
      ]);
    });
  });

  describe("on a channel without history", () => {
    const TO = 100_000;

    function liveRulesOf(
      numbers: readonly (number | "gap")[],
      from: number,
      losses = NO_LOSSES,
      connectionOf: (number: number | "gap") => number = () => 0,
    ): string[] {
      const channel = "live-0";
      const ledger = new Ledger();
      for (const number of EVENTS) {
        ledger.settle({ channel, publisher: 1, number, issuedAt: number, settledAt: number + 0.5, id: null });
      }
      const trail = new Trail(0, from);
      trail.spans.set(0, { from, to: TO });
      for (const number of numbers) {
        trail.push(number === "gap" ? GAP : codeOf({ publisher: 1, number }), 0, connectionOf(number));
      }
      const marker = { ...MARKER, offset: 0 };
      const evidence = {
        channel,
        ledger,
        stamps: new Map(),
        places: new Map(),
        marker,
        losses,
        lostPlaces: new Set<number>(),
      };
      return judge(trail, evidence).map(({ rule }) => rule);
    }

    it("nothing with all since the stream was open, with what comes twice, and with a hole that was told", () => {
      expect(liveRulesOf(EVENTS, 0)).to.deep.equal([]);
      expect(liveRulesOf([5, 6, 7, 8], 4.5)).to.deep.equal([]);
      expect(liveRulesOf([1, 2, 3, 2, 3, 4, 5, 6, 7, 8], 0)).to.deep.equal([]);
      expect(liveRulesOf([1, 2, "gap", 5, 6, 7, 8], 0)).to.deep.equal([]);
    });

    it("a hole that was not told, unless a server was lost at that moment", () => {
      const rules = ["nothing is missing on an open stream without a gap"];
      expect(liveRulesOf([1, 2, 5, 6, 7, 8], 0)).to.deep.equal(rules);
      expect(liveRulesOf([1, 2, 3, 4, 5], 0)).to.deep.equal(rules);
      expect(liveRulesOf([1, "gap", 2, 5, 6, 7, 8], 0)).to.deep.equal(rules);
      expect(liveRulesOf([1, 2, 5, 6, 7, 8], 0, new Losses(true, [{ from: 3, to: 4 }]))).to.deep.equal([]);
      expect(liveRulesOf([1, 2, 5, 6, 7, 8], 0, new Losses(true, [{ from: 6, to: 9 }]))).to.deep.equal(rules);
    });

    it("a hole that was not told, unless the bus was cut at that moment", () => {
      const rules = ["nothing is missing on an open stream without a gap"];
      const cut = (from: number, to: number): Losses => new Losses(true, [], [{ from, to }]);
      expect(liveRulesOf([1, 2, 5, 6, 7, 8], 0, cut(3, 4))).to.deep.equal([]);
      expect(liveRulesOf([1, 2, 5, 6, 7, 8], 0, cut(3, 3.9))).to.deep.equal(rules);
      expect(liveRulesOf([1, 2, 4, 3, 5, 6, 7, 8], 0, cut(3, 4))).to.deep.equal([
        "nothing comes out of order",
      ]);
    });

    it("another order, unless another process has another node", () => {
      const losses = new Losses(true, []);
      const late = [1, 2, 5, 3, 4] as const;
      const second = (number: number | "gap"): number => (number === 3 || number === 4 ? 1 : 0);
      expect(liveRulesOf(late, 0, losses, second)).to.not.include("nothing comes out of order");
      expect(liveRulesOf(late, 0, NO_LOSSES, second)).to.include("nothing comes out of order");
      expect(liveRulesOf([1, 2, 4, 3, 5, 6, 7, 8], 0)).to.deep.equal(["nothing comes out of order"]);
    });

    it("another order, unless the event that comes late met with a server that was replaced", () => {
      const late = [1, 2, 4, 3, 5, 6, 7, 8];
      expect(liveRulesOf(late, 0, new Losses(true, [{ from: 3, to: 3.2 }]))).to.deep.equal([]);
      expect(liveRulesOf(late, 0, new Losses(true, [{ from: 4, to: 9 }]))).to.deep.equal([
        "nothing comes out of order",
      ]);
    });
  });
});
