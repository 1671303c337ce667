import { expect } from "chai";
import * as fc from "fast-check";

import {
  encodeEventId,
  isEpoch,
  MAX_CHANNELS,
  parseEventId,
  tagOf,
  type EventIdEntry,
} from "../../../lib/sse/event-id.js";
import { assertField } from "../../../lib/sse/frame.js";

const epoch = fc.stringMatching(/^[0-9a-f]{8}$/).filter(isEpoch);
const offset = fc.oneof(
  fc.nat(300),
  fc.maxSafeNat(),
  fc.constantFrom(127, 128, 16_383, 16_384, 2 ** 31, 2 ** 32, 2 ** 49 - 1, 2 ** 49, Number.MAX_SAFE_INTEGER),
);
const tag = fc.nat(0xffff_ffff);
const entry: fc.Arbitrary<EventIdEntry> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record(
      { tag, epoch, offset, stamp: fc.integer({ min: 1, max: 9_999_999 }) },
      { requiredKeys: ["tag", "epoch", "offset"] },
    ),
  },
  fc.record({
    tag,
    epoch: fc.constant(""),
    offset: fc.constant(0),
    since: fc.nat(1e6).map((hours) => hours * 3_600_000),
    run: fc.nat(0xffff),
  }),
);
const entries = fc.array(entry, { minLength: 1, maxLength: 70 });

/** Encodes bytes as an event id without any validation. */
const textOf = (...bytes: readonly number[]): string => `3.${Buffer.from(bytes).toString("base64url")}`;

const EXAMPLE = encodeEventId([{ tag: 0xdeed1234, epoch: "0badcafe", offset: 300, stamp: 1_000_001 }]);

describe("encodeEventId()", () => {
  it("writes tag, epoch, stamp and offset for each channel", () => {
    const head = [0xde, 0xed, 0x12, 0x34, 0x0b, 0xad, 0xca, 0xfe];
    expect(EXAMPLE).to.equal(textOf(...head, 0x0f, 0x42, 0x41, 0xac, 0x02));
    const unknown = encodeEventId([{ tag: 0xdeed1234, epoch: "0badcafe", offset: 300 }]);
    expect(unknown).to.equal(textOf(...head, 0, 0, 0, 0xac, 0x02));
  });

  it("writes the hour and the server run instead of an offset if the channel has no log", () => {
    const text = encodeEventId([{ tag: 1, epoch: "", offset: 0, since: 3 * 3_600_000 - 1, run: 300 }]);
    expect(text).to.equal(textOf(0, 0, 0, 1, 0, 0, 0, 0, 0xac, 0x82, 0x08));
  });

  it("writes only characters that are valid in an SSE id and in an HTTP header", () => {
    fc.assert(
      fc.property(entries, (list) => {
        const text = encodeEventId(list);
        expect(text).to.match(/^3\.[A-Za-z0-9_-]+$/);
        assertField("id", text);
      }),
    );
  });

  it("stays short, even for a stream with 64 channels", () => {
    const busy = (count: number, offset: number): number => {
      const entries = Array.from({ length: count }, (_, index) => ({
        tag: tagOf(`c${index}`),
        epoch: "ffffffff",
        offset,
      }));
      return encodeEventId(entries).length;
    };
    expect(busy(1, 1_000), "one channel").to.equal(20);
    expect(busy(64, 1_000), "64 channels, thousands of events each").to.equal(1_112);
    expect(busy(64, Number.MAX_SAFE_INTEGER), "64 channels with the largest offset").to.equal(1_624);
    expect(busy(MAX_CHANNELS, Number.MAX_SAFE_INTEGER), "the most channels").to.be.below(8_192);
  });
});

describe("parseEventId()", () => {
  it("reads every id that encodeEventId() writes", () => {
    fc.assert(
      fc.property(entries, (list) => {
        expect(parseEventId(encodeEventId(list))).to.deep.equal(list);
      }),
      { numRuns: 500 },
    );
  });

  it("accepts a text only if it is the canonical form of the ids in it", () => {
    const mangled = fc
      .tuple(entries, fc.nat(), fc.string({ minLength: 0, maxLength: 2, unit: "binary-ascii" }), fc.nat(2))
      .map(([list, at, inserted, deleted]) => {
        const text = encodeEventId(list.slice(0, 3));
        const start = at % (text.length + 1);
        return text.slice(0, start) + inserted + text.slice(start + deleted);
      });
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 40 }).map((list) => textOf(...list));
    const base64 = fc.stringMatching(/^[123]\.[\w-]{0,40}$/);
    let taken = 0;
    fc.assert(
      fc.property(fc.oneof(mangled, bytes, base64, fc.string({ unit: "binary" })), (text) => {
        const read = parseEventId(text);
        if (read === null) return;
        taken++;
        if (text.startsWith("3.")) expect(encodeEventId(read)).to.equal(text);
        for (const each of read) {
          expect(each.isVersion1 === true || each.epoch === "" || isEpoch(each.epoch)).to.equal(true);
          expect(each.tag).to.be.within(0, each.isVersion1 ? 0xffff : 0xffff_ffff);
          expect(Number.isSafeInteger(each.offset) && each.offset >= 0).to.equal(true);
        }
      }),
      { numRuns: 20_000 },
    );
    expect(taken, "texts that were valid ids").to.be.greaterThan(500);
  });

  const channelAndEpoch = [0xde, 0xed, 0x12, 0x34, 0x0b, 0xad, 0xca, 0xfe];
  const head = [...channelAndEpoch, 0x0f, 0x42, 0x41];
  const hostile: Readonly<Record<string, string>> = {
    "an empty text": "",
    "an id without a version": EXAMPLE.slice(2),
    "a Redis stream id": "1-1",
    "two headers that a proxy joined with a comma": `${EXAMPLE}, ${EXAMPLE}`,
    "an id with a line break": `${EXAMPLE}\n`,
    "a valid id of 20 KB": encodeEventId(
      Array.from({ length: 2_200 }, () => ({ tag: 1, epoch: "0badcafe", offset: 1 })),
    ),
    "spare bits in the last digit": EXAMPLE.replace(/.$/, "h"),
    "spare bits in the last digit of version 1": "1.EjQLrcr-AB",
    "a stamp that is too large": textOf(...channelAndEpoch, 0x98, 0x96, 0x80, 0x01),
    "an offset of 300 with trailing zero bytes": textOf(...head, 0xac, 0x82, 0x00),
    "an offset of 2^53": textOf(...head, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10),
    "an offset without end": textOf(...head, ...Array.from({ length: 40 }, () => 0xff)),
    "a second channel that is cut off": textOf(...head, 0x01, ...head),
  };
  for (const [name, text] of Object.entries(hostile)) {
    it(`rejects ${name}`, () => expect(parseEventId(text)).to.equal(null));
  }

  it("reads an id of version 2, without stamps", () => {
    expect(parseEventId("2.3u0SNAutyv6sAg")).to.deep.equal([
      { tag: 0xdeed1234, epoch: "0badcafe", offset: 300 },
    ]);
    const none = [{ tag: 1, epoch: "", offset: 0, since: 2 * 3_600_000, run: 300 }];
    expect(parseEventId("2.AAAAAQAAAACsggg")).to.deep.equal(none);
  });

  it("reads an id of version 1, with tags of 16 bits", () => {
    expect(parseEventId("1.EjQLrcr-rAI")).to.deep.equal([
      { tag: 0x1234, epoch: "0badcafe", offset: 300, isVersion1: true },
    ]);
  });

  it("reads the largest offset, and 0, which is the position before the first event", () => {
    const largest = textOf(...head, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f);
    expect(parseEventId(largest)?.[0]?.offset).to.equal(Number.MAX_SAFE_INTEGER);
    expect(parseEventId(textOf(...head, 0x00))?.[0]?.offset).to.equal(0);
  });
});

describe("tagOf()", () => {
  it("returns the FNV-1a hash of the name, as in the published test vectors", () => {
    expect(tagOf("")).to.equal(0x811c9dc5);
    expect(tagOf("a")).to.equal(0xe40c292c);
    expect(tagOf("foobar")).to.equal(0xbf9cf968);
    expect(tagOf("🎉")).to.equal(tagOf("🎉")).and.to.be.within(0, 0xffff_ffff);
  });
});

describe("isEpoch()", () => {
  it("accepts only eight lower-case hexadecimal digits that are not all zero", () => {
    for (const text of ["", "00000000", "0badcaf", "0badcafe0", "0BADCAFE", "0badcafg", "0badcafe\n"])
      expect(isEpoch(text), JSON.stringify(text)).to.equal(false);
    expect(isEpoch("0badcafe")).to.equal(true);
  });
});
