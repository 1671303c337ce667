import { expect } from "chai";
import * as fc from "fast-check";

import {
  encodeCursor,
  parseCursor,
  tagOf,
  type CursorEntry,
  type Position,
} from "../../../lib/pubsub/cursor.js";
import type { Tail } from "../../../lib/pubsub/history-port.js";
import { entryOf, findStart, parseWish, type Wish } from "../../../lib/pubsub/resume.js";

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
  startedEmpty: false,
  ...given,
});
const cursor = (offset: number, epoch = EPOCH, channel = "c"): readonly CursorEntry[] => [
  { tag: tagOf(channel), epoch, offset },
];

describe("parseWish()", () => {
  it("takes none, and an empty one, as what comes from now on", () => {
    expect(parseWish(undefined)).to.equal("now");
    expect(parseWish("")).to.equal("now");
  });

  it("knows the word for all that is held", () => {
    expect(parseWish("earliest")).to.equal("earliest");
    for (const text of ["Earliest", "earliest ", "now", "$", "0", "null", "completed"]) {
      expect(parseWish(text), text).to.equal("malformed");
    }
  });

  it("reads a cursor, and takes anything else as malformed", () => {
    expect(parseWish(encodeCursor(cursor(7)))).to.deep.equal(cursor(7));
    fc.assert(
      fc.property(fc.string({ minLength: 1, unit: "binary" }), (text) => {
        fc.pre(text !== "earliest" && !/^[12]\./.test(text));
        expect(parseWish(text)).to.equal("malformed");
      }),
    );
  });
});

describe("entryOf()", () => {
  // Two names with the same tag, and two names with the same tag in version 1 only.
  const [one, another] = ["channel:62vu", "channel:duea"];
  const [first, second] = ["task_progress:a80", "task_progress:a753"];

  it("finds a channel by its tag, or nothing", () => {
    expect(entryOf(cursor(7), "c", EPOCH)).to.deep.equal(cursor(7)[0]);
    expect(entryOf(cursor(7), "d", EPOCH)).to.equal(null);
    expect(entryOf([], "c", EPOCH)).to.equal(null);
  });

  it("tells two channels with one tag apart by the life of their logs", () => {
    expect(tagOf(one)).to.equal(tagOf(another));
    const both = [...cursor(3, EPOCH, one), ...cursor(8, OTHER, another)];
    expect(entryOf(both, one, EPOCH)?.offset).to.equal(3);
    expect(entryOf(both, another, OTHER)?.offset).to.equal(8);
    expect(entryOf(both, one, "0000000f")?.epoch, "some other life").to.equal(EPOCH);
  });

  it("takes neither of two entries if their epochs are the same too", () => {
    const both = [...cursor(3, EPOCH, one), ...cursor(8, EPOCH, another)];
    expect(entryOf(both, one, EPOCH)).to.equal(null);
    expect(entryOf(both, another, EPOCH)).to.equal(null);
  });

  it("finds the channels of an id of version 1, but neither of two with the same tag and epoch", () => {
    const text = (...names: readonly string[]): string => {
      const parts = names.map((name) => {
        const part = Buffer.from("00000badcafe07", "hex");
        const tag = tagOf(name);
        part.writeUInt16BE(((tag >>> 16) ^ tag) & 0xffff, 0);
        return part;
      });
      return `1.${Buffer.concat(parts).toString("base64url")}`;
    };
    const entries = parseCursor(text("c", first))!;
    expect(entryOf(entries, "c", EPOCH)?.offset).to.equal(7);
    expect(entryOf(entries, first, EPOCH)?.offset).to.equal(7);
    expect(entryOf(entries, "d", EPOCH)).to.equal(null);
    expect(entryOf(parseCursor(text(first, second))!, first, EPOCH)).to.equal(null);
  });
});

describe("findStart()", () => {
  const start = (wish: Wish, given: Partial<Tail> = {}, budget = 100) =>
    findStart("c", wish, tail(given), { budget, memoryMs: MEMORY_MS });
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

  it("goes on where the client was", () => {
    for (const offset of [0, 1, 9, 10]) {
      expect(start(cursor(offset))).to.deep.equal({ position: { epoch: EPOCH, offset }, resumed: true });
    }
    expect(start(cursor(4), { finite: true }), "also where it is to be completed").to.deep.equal({
      position: { epoch: EPOCH, offset: 4 },
      resumed: true,
    });
  });

  const refused: readonly (readonly [string, Wish, string])[] = [
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

  describe("in a channel that had no log", () => {
    const wasEmpty = (since: number, run = 0): readonly CursorEntry[] => [
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
      expect(start(wasEmpty(NOW, 1), { run: 2, startedEmpty: true })).to.deep.equal(gone);
      const kept: readonly Partial<Tail>[] = [
        { run: 2 },
        { run: 1, startedEmpty: true },
        { run: 0, startedEmpty: true },
      ];
      for (const given of kept) expect(start(wasEmpty(NOW, 1), given).resumed).to.equal(true);
      expect(start(wasEmpty(NOW, 0), { run: 2, startedEmpty: true }).resumed).to.equal(true);
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
