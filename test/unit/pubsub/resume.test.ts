import { createHash } from "node:crypto";

import { expect } from "chai";
import * as fc from "fast-check";

import { encodeCursor, tagOf, type CursorEntry } from "../../../lib/pubsub/cursor.js";
import type { Tail } from "../../../lib/pubsub/history-port.js";
import { entryOf, findStart, parseWish, type Wish } from "../../../lib/pubsub/resume.js";

const EPOCH = "0badcafe";
const OTHER = "0ddba11a";

const tail = (given: Partial<Tail> = {}): Tail => ({
  position: { epoch: EPOCH, offset: 10 },
  ending: null,
  finite: false,
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
        fc.pre(text !== "earliest" && !text.startsWith("1."));
        expect(parseWish(text)).to.equal("malformed");
      }),
    );
  });
});

describe("entryOf()", () => {
  // Two names with one tag, of which there are few.
  const [one, another] = collision();

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
    expect(entryOf(both, one, "00000000")?.epoch, "some other life").to.equal(EPOCH);
  });
});

describe("findStart()", () => {
  const start = (wish: Wish, given: Partial<Tail> = {}, budget = 100) =>
    findStart("c", wish, tail(given), budget);
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

  it('tells the gap "limit" of more events than may be sent again', () => {
    expect(start(cursor(4), {}, 6).resumed).to.equal(true);
    expect(start(cursor(4), {}, 5)).to.deep.equal({ position: top, resumed: false, gap: "limit" });
    expect(start(cursor(10), {}, 0).resumed, "none").to.equal(true);
    expect(start(cursor(10), {}, -3).resumed, "none, and others took too many").to.equal(false);
  });
});

function collision(): readonly [string, string] {
  const seen = new Map<number, string>();
  for (let index = 0; ; index++) {
    const name = createHash("md5").update(String(index)).digest("hex");
    const other = seen.get(tagOf(name));
    if (other !== undefined) return [other, name];
    seen.set(tagOf(name), name);
  }
}
