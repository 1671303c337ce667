import { expect } from "chai";
import * as fc from "fast-check";

import {
  encodeEventId,
  parseEventId,
  tagOf,
  type EventIdEntry,
  type Position,
} from "../../../lib/sse/event-id.js";
import { ClientPlaces, parseLastEventId, type RequestedStart } from "../../../lib/replay/last-event-id.js";
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

type Places = readonly EventIdEntry[];

describe("parseLastEventId()", () => {
  it('returns "now" for a missing or empty id', () => {
    expect(parseLastEventId(undefined, [])).to.equal("now");
    expect(parseLastEventId("", [])).to.equal("now");
  });

  it('accepts "earliest" only if new streams start there, and no other word', () => {
    expect(parseLastEventId("earliest", [], "earliest")).to.equal("earliest");
    expect(parseLastEventId("earliest", [])).to.equal("foreign");
    expect(parseLastEventId(undefined, [], "earliest")).to.equal("earliest");
    for (const text of ["Earliest", "earliest ", "now", "$", "0", "null", "completed"]) {
      expect(parseLastEventId(text, ["c"]), text).to.equal("malformed");
    }
  });

  it('reads an event id and returns "malformed" for anything else', () => {
    const requested = parseLastEventId(encodeEventId(cursor(7)), ["c"]) as ClientPlaces;
    expect(requested.find("c", EPOCH)).to.deep.equal(cursor(7)[0]);
    fc.assert(
      fc.property(fc.string({ minLength: 1, unit: "binary" }), (text) => {
        fc.pre(text !== "earliest" && !/^[123]\./.test(text));
        expect(parseLastEventId(text, ["c"])).to.equal("malformed");
      }),
    );
  });
});

describe("ClientPlaces", () => {
  // Two names with the same tag, which is rare, and two names with the same tag in version 1.
  const [one, another] = ["channel:62vu", "channel:duea"];
  const [first, second] = ["task_progress:a80", "task_progress:a753"];
  const both = [one, another];
  const offsetIn = (
    entries: readonly EventIdEntry[],
    channels: readonly string[],
    channel: string,
    epoch: string,
  ): number | undefined => new ClientPlaces(entries, channels).find(channel, epoch)?.offset;

  it("finds a channel by its tag or returns undefined", () => {
    expect(offsetIn(cursor(7), ["c", "d"], "c", EPOCH)).to.equal(7);
    expect(offsetIn(cursor(7), ["c"], "c", OTHER), "of another epoch").to.equal(7);
    expect(offsetIn(cursor(7), ["c", "d"], "d", EPOCH)).to.equal(undefined);
    expect(offsetIn([], ["c"], "c", EPOCH)).to.equal(undefined);
  });

  it("distinguishes two channels with the same tag by their epochs and never confuses them", () => {
    expect(tagOf(one)).to.equal(tagOf(another));
    const entries = [...cursor(3, EPOCH, one), ...cursor(8, OTHER, another)];
    expect(offsetIn(entries, both, one, EPOCH)).to.equal(3);
    expect(offsetIn(entries, both, another, OTHER)).to.equal(8);
    expect(offsetIn(entries, [one], one, EPOCH), "of a stream that had both").to.equal(3);
    expect(offsetIn(entries, both, one, "0000000f"), "another epoch").to.equal(undefined);
    expect(offsetIn(entries, [one], one, "0000000f")).to.equal(undefined);
    const same = [...cursor(3, EPOCH, one), ...cursor(8, EPOCH, another)];
    expect(offsetIn(same, both, one, EPOCH), "the same epoch for both").to.equal(undefined);
  });

  it("does not use the entry of a channel without a log for another channel", () => {
    const entries = [{ tag: tagOf(one), ...none(NOW) }, ...cursor(5, OTHER, another)];
    for (const channels of [both, both.toReversed()]) {
      expect(offsetIn(entries, channels, another, OTHER)).to.equal(5);
      expect(offsetIn(entries, channels, another, "0000000f"), "a lost log").to.equal(undefined);
      expect(offsetIn(entries, channels, one, EPOCH)).to.equal(undefined);
      expect(offsetIn([entries[0]!], channels, another, OTHER)).to.equal(undefined);
    }
  });

  it("finds the channels of a version 1 id, except two channels with the same tag", () => {
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
    // The id has one task, but the stream has two tasks with its tag.
    for (const channel of [first, second]) {
      expect(offsetIn(parseEventId(text(first))!, [first, second], channel, EPOCH)).to.equal(undefined);
    }
  });
});

describe("decideStart()", () => {
  const start = (requested: RequestedStart | Places, given: Partial<Tail> = {}, budget = 100, now = NOW) => {
    const places = Array.isArray(requested)
      ? new ClientPlaces(requested as Places, ["c"])
      : (requested as RequestedStart);
    return decideStart("c", places, tail(given), { budget, memoryMs: MEMORY_MS, now });
  };
  const wasEmpty = (since: number, run = 0): Places => [{ tag: tagOf("c"), ...none(since), run }];
  const stamped = (stamp: number): readonly EventIdEntry[] => [{ ...cursor(10)[0]!, stamp }];
  const top = { epoch: EPOCH, offset: 10 };
  const newest = { ...top, stamp: 1_000_010 };
  const noLog = none(NOW);
  const now = { position: top, resumed: false };
  const whole = { position: { epoch: EPOCH, offset: 0 }, resumed: false };
  const resumed = { ...whole, resumed: true };

  type Expected = { readonly position: Position; readonly resumed: boolean; readonly gap?: string };
  /** New events only, after a gap. */
  const lost = (gap: string, position: Position = top): Expected => ({ position, resumed: false, gap });
  const atPlace = (position: Position): Expected => ({ position, resumed: true });
  const restarted = { run: 2, mayHaveLost: true };

  const CASES: readonly (readonly [string, RequestedStart | Places, log: Partial<Tail>, Expected])[] = [
    ["with new events without an id", "now", {}, now],
    ["at the beginning of a finite channel", "now", { finite: true }, whole],
    ["at the beginning of a completed channel", "now", { ending: "completed" }, whole],
    ["at the beginning of a broken channel", "now", { ending: "broken" }, whole],
    ['at the beginning for "earliest"', "earliest", {}, whole],
    ["at the client's position in a finite channel", cursor(0), { finite: true }, resumed],
    ["after a gap if the id is malformed", "malformed", {}, lost("malformed")],
    ["after a gap if the id has only other channels", cursor(3, EPOCH, "d"), {}, lost("foreign")],
    ["after a gap if the id has another epoch", cursor(3, OTHER), {}, lost("epoch")],
    ["after a gap if the id is ahead of the log", cursor(11), {}, lost("future")],
    ["after a gap if the id has the largest offset", cursor(Number.MAX_SAFE_INTEGER), {}, lost("future")],
    [
      "after a gap for another event at the place",
      stamped(1_999_999),
      { position: newest },
      lost("future", newest),
    ],
    [
      "at the place if the log has the same event there",
      stamped(1_000_010),
      { position: newest },
      atPlace(newest),
    ],
    ["at the place if the id has no stamp", cursor(10), { position: newest }, atPlace(top)],
    ["at the first event if the channel had no log", wasEmpty(NOW - MEMORY_MS), {}, resumed],
    ["at the first event if the clock was set back", wasEmpty(NOW + 5), {}, resumed],
    ["after a gap if the channel had no log too long ago", wasEmpty(NOW - MEMORY_MS - 1), {}, lost("epoch")],
    ["after a gap if a restart may have lost the first events", wasEmpty(NOW, 1), restarted, lost("epoch")],
    ["at the first event if a Redis restart lost no data", wasEmpty(NOW, 1), { run: 2 }, resumed],
    ["at the first event in the same server run", wasEmpty(NOW, 1), { ...restarted, run: 1 }, resumed],
    ["at the first event in an unknown server run", wasEmpty(NOW, 1), { ...restarted, run: 0 }, resumed],
    ["at the first event if the id has no server run", wasEmpty(NOW, 0), restarted, resumed],
    ["without a log if there is still none", wasEmpty(NOW - 5), { position: noLog }, atPlace(noLog)],
    ["without a log and without an id", "now", { position: noLog }, { position: noLog, resumed: false }],
    ['without a log for "earliest"', "earliest", { position: noLog }, { position: noLog, resumed: false }],
    ["after a gap if the log is gone", cursor(3), { position: noLog }, lost("epoch", noLog)],
  ];
  for (const [where, requested, log, expected] of CASES) {
    it(`starts ${where}`, () => expect(start(requested, log)).to.deep.equal({ gap: null, ...expected }));
  }

  describe("for a client that may not resume from every place", () => {
    const UNTIL = NOW + 1_000;
    const limited = (places: Places, floors: Places | null): RequestedStart =>
      new ClientPlaces(places, ["c"], {
        floors: floors && new ClientPlaces(floors, ["c"]),
        validUntil: UNTIL,
      });
    const at = (offset: number): Expected => atPlace({ epoch: EPOCH, offset });
    const noLogThen = wasEmpty(NOW);
    const LIMITED: readonly [string, Places, floors: Places | null, Expected, given?: Partial<Tail>][] = [
      ["at a place after the floor", cursor(6), cursor(5), at(6)],
      ["at the floor", cursor(5), cursor(5), at(5)],
      [
        "at the floor after a gap if the place is earlier",
        cursor(4),
        cursor(5),
        { ...at(5), gap: "foreign" },
      ],
      [
        "at the floor after a gap if there was no log then",
        noLogThen,
        cursor(5),
        { ...at(5), gap: "foreign" },
      ],
      ["with new events without a floor", cursor(6), [], lost("foreign")],
      ["with new events without a token", cursor(6), null, lost("foreign")],
      [
        "with new events with the floor of another channel",
        cursor(6),
        cursor(5, EPOCH, "d"),
        lost("foreign"),
      ],
      ["at any place of a log that began after the floor", cursor(0), cursor(9, OTHER), resumed],
      ["at any place if the channel had no log at the floor", cursor(0), noLogThen, resumed],
      ["with new events if the log has lost the floor", cursor(4), cursor(11), lost("future")],
      ["with new events if the place is of another log", cursor(6, OTHER), cursor(5), lost("epoch")],
      ["at any place of a finite channel", cursor(0), null, resumed, { finite: true }],
      ["at any place of a completed channel", cursor(0), null, resumed, { ending: "completed" }],
    ];
    for (const [where, places, floors, expected, given] of LIMITED) {
      it(`starts ${where}`, () => {
        expect(start(limited(places, floors), given)).to.deep.equal({ gap: null, ...expected });
      });
    }

    it("starts with new events if the floors are too old", () => {
      expect(start(limited(cursor(6), cursor(5)), {}, 100, UNTIL).resumed).to.equal(true);
      const late = start(limited(cursor(6), cursor(5)), {}, 100, UNTIL + 1);
      expect(late).to.deep.equal(lost("trimmed"));
    });
  });

  it('returns the gap "limit" if more events are missed than may be replayed', () => {
    expect(start(cursor(4), {}, 6).resumed).to.equal(true);
    expect(start(cursor(4), {}, 5)).to.deep.equal(lost("limit"));
    expect(start(wasEmpty(NOW), {}, 9)).to.deep.equal(lost("limit"));
    expect(start(cursor(10), {}, 0).resumed, "no missed events").to.equal(true);
    expect(start(cursor(10), {}, -3).resumed, "other channels exceeded the limit").to.equal(false);
  });
});
