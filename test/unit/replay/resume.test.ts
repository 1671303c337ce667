import { expect } from "chai";
import * as fc from "fast-check";

import {
  encodeEventId,
  parseEventId,
  tagOf,
  type EventIdEntry,
  type Position,
} from "../../../lib/sse/event-id.js";
import type { Tail } from "../../../lib/replay/history-port.js";
import { ClientPlaces, findStart, parseWish, type Wish } from "../../../lib/replay/start-position.js";

const EPOCH = "0badcafe";
const OTHER = "0ddba11a";
const NOW = 2_000_000;
const MEMORY_MS = 100_000;
/** The position of a channel without a log. */
const none = (since: number): Position => ({ epoch: "", offset: 0, since });

const tail = (given: Partial<Tail> = {}): Tail => ({
  position: { epoch: EPOCH, offset: 10 },
  ending: null,
  finite: false,
  at: NOW,
  isInvalid: false,
  run: 0,
  mayHaveLost: false,
  ...given,
});
const cursor = (offset: number, epoch = EPOCH, channel = "c"): readonly EventIdEntry[] => [
  { tag: tagOf(channel), epoch, offset },
];

describe("parseWish()", () => {
  it("takes none, and an empty one, as what comes from now on", () => {
    expect(parseWish(undefined, [])).to.equal("now");
    expect(parseWish("", [])).to.equal("now");
  });

  it("knows the word for all that is held", () => {
    expect(parseWish("earliest", [])).to.equal("earliest");
    for (const text of ["Earliest", "earliest ", "now", "$", "0", "null", "completed"]) {
      expect(parseWish(text, ["c"]), text).to.equal("malformed");
    }
  });

  it("reads a cursor, and takes anything else as malformed", () => {
    const wish = parseWish(encodeEventId(cursor(7)), ["c"]) as ClientPlaces;
    expect(wish.find("c", EPOCH)).to.deep.equal(cursor(7)[0]);
    fc.assert(
      fc.property(fc.string({ minLength: 1, unit: "binary" }), (text) => {
        fc.pre(text !== "earliest" && !/^[123]\./.test(text));
        expect(parseWish(text, ["c"])).to.equal("malformed");
      }),
    );
  });
});

describe("ClientPlaces", () => {
  // Two names with one tag, of which there are few; and two more that had the same in the first version.
  const [one, another] = ["channel:62vu", "channel:duea"];
  const [first, second] = ["task_progress:a80", "task_progress:a753"];
  const both = [one, another];
  const offsetIn = (
    entries: readonly EventIdEntry[],
    channels: readonly string[],
    channel: string,
    epoch: string,
  ): number | undefined => new ClientPlaces(entries, channels).find(channel, epoch)?.offset;

  it("finds a channel by its tag, or nothing", () => {
    expect(offsetIn(cursor(7), ["c", "d"], "c", EPOCH)).to.equal(7);
    expect(offsetIn(cursor(7), ["c"], "c", OTHER), "of another life").to.equal(7);
    expect(offsetIn(cursor(7), ["c", "d"], "d", EPOCH)).to.equal(undefined);
    expect(offsetIn([], ["c"], "c", EPOCH)).to.equal(undefined);
  });

  it("tells two channels with one tag apart by the life of their logs, and takes neither for the other", () => {
    expect(tagOf(one)).to.equal(tagOf(another));
    const entries = [...cursor(3, EPOCH, one), ...cursor(8, OTHER, another)];
    expect(offsetIn(entries, both, one, EPOCH)).to.equal(3);
    expect(offsetIn(entries, both, another, OTHER)).to.equal(8);
    expect(offsetIn(entries, [one], one, EPOCH), "of a stream that had both").to.equal(3);
    expect(offsetIn(entries, both, one, "0000000f"), "some other life").to.equal(undefined);
    expect(offsetIn(entries, [one], one, "0000000f")).to.equal(undefined);
    const same = [...cursor(3, EPOCH, one), ...cursor(8, EPOCH, another)];
    expect(offsetIn(same, both, one, EPOCH), "the same life too").to.equal(undefined);
  });

  it("never takes that one channel had no log for what is known of another", () => {
    const entries = [{ tag: tagOf(one), ...none(NOW) }, ...cursor(5, OTHER, another)];
    for (const channels of [both, both.toReversed()]) {
      expect(offsetIn(entries, channels, another, OTHER)).to.equal(5);
      expect(offsetIn(entries, channels, another, "0000000f"), "a log that was lost").to.equal(undefined);
      expect(offsetIn(entries, channels, one, EPOCH)).to.equal(undefined);
      expect(offsetIn([entries[0]!], channels, another, OTHER)).to.equal(undefined);
    }
  });

  it("finds the channels of an id of the first version, and neither of two that were the same in it", () => {
    const text = (...names: readonly string[]): string => {
      const parts = names.map((name) => {
        const part = Buffer.from("00000badcafe07", "hex");
        const tag = tagOf(name);
        part.writeUInt16BE(((tag >>> 16) ^ tag) & 0xffff, 0);
        return part;
      });
      return `1.${Buffer.concat(parts).toString("base64url")}`;
    };
    const entries = parseEventId(text("c", first))!;
    expect(offsetIn(entries, ["c", first, "d"], "c", EPOCH)).to.equal(7);
    expect(offsetIn(entries, ["c", first, "d"], first, EPOCH)).to.equal(7);
    expect(offsetIn(entries, ["c", "d"], "d", EPOCH)).to.equal(undefined);
    expect(offsetIn(parseEventId(text(first, second))!, [first], first, EPOCH)).to.equal(undefined);
    // Of one task's id, for the streams of two.
    for (const channel of [first, second]) {
      expect(offsetIn(parseEventId(text(first))!, [first, second], channel, EPOCH)).to.equal(undefined);
    }
  });
});

describe("findStart()", () => {
  const start = (wish: Wish | readonly EventIdEntry[], given: Partial<Tail> = {}, budget = 100) => {
    const places =
      typeof wish === "string" || wish instanceof ClientPlaces ? wish : new ClientPlaces(wish, ["c"]);
    return findStart("c", places, tail(given), { budget, memoryMs: MEMORY_MS });
  };
  const top = { epoch: EPOCH, offset: 10 };

  it("begins with what comes from now on", () => {
    expect(start("now")).to.deep.equal({ position: top, resumed: false });
  });

  it("begins a channel that will be completed, or was, from its beginning", () => {
    const whole = { position: { epoch: EPOCH, offset: 0 }, resumed: false };
    expect(start("now", { finite: true })).to.deep.equal(whole);
    expect(start("now", { ending: "completed" })).to.deep.equal(whole);
    expect(start("now", { ending: "broken" })).to.deep.equal(whole);
    expect(start("earliest")).to.deep.equal(whole);
  });

  const refused: readonly (readonly [string, Wish | readonly EventIdEntry[], string])[] = [
    ["what is no cursor", "malformed", "malformed"],
    ["a cursor of other channels", cursor(3, EPOCH, "d"), "foreign"],
    ["a cursor of another life", cursor(3, OTHER), "epoch"],
    ["a cursor ahead of the log", cursor(11), "future"],
    ["the largest cursor there is", cursor(Number.MAX_SAFE_INTEGER), "future"],
  ];
  for (const [what, wish, gap] of refused) {
    it(`tells the gap "${gap}" of ${what}, and begins with what comes`, () => {
      expect(start(wish)).to.deep.equal({ position: top, resumed: false, gap });
    });
  }

  it("tells that the log has another event at the client's place, and goes on from the same one", () => {
    const newest = { epoch: EPOCH, offset: 10, stamp: 1_000_010 };
    const other = { ...cursor(10)[0]!, stamp: 1_999_999 };
    expect(start([other], { position: newest })).to.deep.equal({
      position: newest,
      resumed: false,
      gap: "future",
    });
    const same = { ...other, stamp: newest.stamp };
    expect(start([same], { position: newest })).to.deep.equal({ position: newest, resumed: true });
    const unknown = { position: { epoch: EPOCH, offset: 10 }, resumed: true };
    expect(start(cursor(10), { position: newest })).to.deep.equal(unknown);
  });

  describe("in a channel that had no log", () => {
    const wasEmpty = (since: number, run = 0): readonly EventIdEntry[] => [
      { tag: tagOf("c"), ...none(since), run },
    ];

    it("begins with the first event that has come since", () => {
      const beginning = { position: { epoch: EPOCH, offset: 0 }, resumed: true };
      expect(start(wasEmpty(NOW - MEMORY_MS))).to.deep.equal(beginning);
      expect(start(wasEmpty(NOW + 5)), "the clock was set back").to.deep.equal(beginning);
      expect(start(wasEmpty(NOW), {}, 9)).to.deep.include({ position: top, gap: "limit" });
    });

    it("tells a gap if that was so long ago that a log may have existed and been lost", () => {
      expect(start(wasEmpty(NOW - MEMORY_MS - 1))).to.deep.equal({
        position: top,
        resumed: false,
        gap: "epoch",
      });
    });

    it("tells a gap if Redis has lost its data in a restart since", () => {
      const gone = { position: top, resumed: false, gap: "epoch" };
      expect(start(wasEmpty(NOW, 1), { run: 2, mayHaveLost: true })).to.deep.equal(gone);
      const kept: readonly Partial<Tail>[] = [
        { run: 2 },
        { run: 1, mayHaveLost: true },
        { run: 0, mayHaveLost: true },
      ];
      for (const given of kept) expect(start(wasEmpty(NOW, 1), given).resumed).to.equal(true);
      expect(start(wasEmpty(NOW, 0), { run: 2, mayHaveLost: true }).resumed).to.equal(true);
    });

    it("has missed nothing if there is still no log", () => {
      const position = none(NOW);
      expect(start(wasEmpty(NOW - 5), { position })).to.deep.equal({ position, resumed: true });
      expect(start("now", { position })).to.deep.equal({ position, resumed: false });
      expect(start("earliest", { position })).to.deep.equal({ position, resumed: false });
      expect(start(cursor(3), { position }), "its log is gone").to.deep.include({ position, gap: "epoch" });
    });
  });

  it('tells the gap "limit" of more events than may be sent again', () => {
    expect(start(cursor(4), {}, 6).resumed).to.equal(true);
    expect(start(cursor(4), {}, 5)).to.deep.equal({ position: top, resumed: false, gap: "limit" });
    expect(start(cursor(10), {}, 0).resumed, "none").to.equal(true);
    expect(start(cursor(10), {}, -3).resumed, "none, and others took too many").to.equal(false);
  });
});
