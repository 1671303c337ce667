import { expect } from "chai";
import * as fc from "fast-check";

import {
  ClientPlaces,
  parseWish,
  type Wish,
  encodeEventId,
  parseEventId,
  tagOf,
  type EventIdEntry,
  type Position,
} from "../../../lib/sse/event-id.js";
import type { Tail } from "../../../lib/replay/history-port.js";
import { decideStart } from "../../../lib/replay/gap-rules.js";

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

describe("decideStart()", () => {
  const start = (wish: Wish | readonly EventIdEntry[], given: Partial<Tail> = {}, budget = 100) => {
    const places =
      typeof wish === "string" || wish instanceof ClientPlaces ? wish : new ClientPlaces(wish, ["c"]);
    return decideStart("c", places, tail(given), { budget, memoryMs: MEMORY_MS });
  };
  const wasEmpty = (since: number, run = 0): Wish | readonly EventIdEntry[] => [
    { tag: tagOf("c"), ...none(since), run },
  ];
  const stamped = (stamp: number): readonly EventIdEntry[] => [{ ...cursor(10)[0]!, stamp }];
  const top = { epoch: EPOCH, offset: 10 };
  const newest = { ...top, stamp: 1_000_010 };
  const noLog = none(NOW);
  const now = { position: top, resumed: false };
  const whole = { position: { epoch: EPOCH, offset: 0 }, resumed: false };
  const resumed = { ...whole, resumed: true };

  type Case = readonly [
    client: string,
    wish: Wish | readonly EventIdEntry[],
    log: Partial<Tail>,
    expected: { readonly position: Position; readonly resumed: boolean; readonly gap?: string },
  ];
  const CASES: readonly Case[] = [
    ["that says nothing, at what comes from now on", "now", {}, now],
    ["of a channel that will be completed, at its beginning", "now", { finite: true }, whole],
    ["of a channel that was completed, at its beginning", "now", { ending: "completed" }, whole],
    ["of a channel that was broken off, at its beginning", "now", { ending: "broken" }, whole],
    ["that asks for the earliest, at the beginning", "earliest", {}, whole],
    ["where it was, though the channel is to be completed", cursor(0), { finite: true }, resumed],
    ["behind a gap: no cursor", "malformed", {}, { ...now, gap: "malformed" }],
    ["behind a gap: a cursor of other channels", cursor(3, EPOCH, "d"), {}, { ...now, gap: "foreign" }],
    ["behind a gap: a cursor of another life", cursor(3, OTHER), {}, { ...now, gap: "epoch" }],
    ["behind a gap: a cursor ahead of the log", cursor(11), {}, { ...now, gap: "future" }],
    [
      "behind a gap: the largest cursor there is",
      cursor(Number.MAX_SAFE_INTEGER),
      {},
      { ...now, gap: "future" },
    ],
    [
      "behind a gap: the log has another event at its place",
      stamped(1_999_999),
      { position: newest },
      { position: newest, resumed: false, gap: "future" },
    ],
    [
      "where it was: the log has the same event there",
      stamped(1_000_010),
      { position: newest },
      { position: newest, resumed: true },
    ],
    [
      "where it was: it does not know which event that was",
      cursor(10),
      { position: newest },
      { position: top, resumed: true },
    ],
    ["that knew no log, at the first event since", wasEmpty(NOW - MEMORY_MS), {}, resumed],
    ["that knew no log, by a clock that was set back", wasEmpty(NOW + 5), {}, resumed],
    [
      "behind a gap: it knew no log so long ago that one may have been lost",
      wasEmpty(NOW - MEMORY_MS - 1),
      {},
      { ...now, gap: "epoch" },
    ],
    [
      "behind a gap: it knew no log, and Redis has lost its data in a restart since",
      wasEmpty(NOW, 1),
      { run: 2, mayHaveLost: true },
      { ...now, gap: "epoch" },
    ],
    ["that knew no log, over a restart that lost nothing", wasEmpty(NOW, 1), { run: 2 }, resumed],
    ["that knew no log, of the same run", wasEmpty(NOW, 1), { run: 1, mayHaveLost: true }, resumed],
    ["that knew no log, of an unknown run", wasEmpty(NOW, 1), { run: 0, mayHaveLost: true }, resumed],
    ["that knew no log, nor its run", wasEmpty(NOW, 0), { run: 2, mayHaveLost: true }, resumed],
    ["of no log still", wasEmpty(NOW - 5), { position: noLog }, { position: noLog, resumed: true }],
    ["of no log, from now on", "now", { position: noLog }, { position: noLog, resumed: false }],
    ["of no log, from the earliest", "earliest", { position: noLog }, { position: noLog, resumed: false }],
    [
      "behind a gap: its log is gone",
      cursor(3),
      { position: noLog },
      { position: noLog, resumed: false, gap: "epoch" },
    ],
  ];
  for (const [client, wish, log, expected] of CASES) {
    it(`begins for a client ${client}`, () =>
      expect(start(wish, log)).to.deep.equal({ gap: null, ...expected }));
  }

  it('tells the gap "limit" of more events than may be sent again', () => {
    expect(start(cursor(4), {}, 6).resumed).to.equal(true);
    expect(start(cursor(4), {}, 5)).to.deep.equal({ ...now, gap: "limit" });
    expect(start(wasEmpty(NOW), {}, 9)).to.deep.equal({ ...now, gap: "limit" });
    expect(start(cursor(10), {}, 0).resumed, "none").to.equal(true);
    expect(start(cursor(10), {}, -3).resumed, "none, and others took too many").to.equal(false);
  });
});
