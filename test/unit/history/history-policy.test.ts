import { expect } from "chai";
import * as fc from "fast-check";

import {
  readHistoryOptions,
  type HistoryOptions,
  type HistoryPolicy,
} from "../../../lib/history/history-policy.js";
import { ConfigError } from "../../../lib/index.js";

const DEFAULTS = { maxLength: 1_000, maxAgeMs: 3_600_000 };

/** Returns the limits that the option `history` gives to each channel. */
function policyOf(options?: HistoryOptions | false): HistoryPolicy {
  return readHistoryOptions(options).policy;
}

describe("readHistoryOptions()", () => {
  it("keeps 1,000 events for one hour in every channel by default", () => {
    for (const policy of [policyOf(undefined), policyOf({}), policyOf({ channels: {} })]) {
      expect(policy("news")).to.deep.equal(DEFAULTS);
    }
  });

  it("keeps no events if history is false", () => {
    expect(policyOf(false)("news")).to.equal(null);
  });

  it("uses the first rule that matches", () => {
    const policy = policyOf({
      maxLength: 7,
      channels: {
        "chat:1": { maxLength: 1 },
        "chat:*": { maxAgeMs: 9 },
        "*:quiet": false,
        "chat:2": { maxLength: 2 },
      },
    });
    expect(policy("chat:1")?.maxLength).to.equal(1);
    expect(policy("chat:2")).to.deep.equal({ maxLength: 7, maxAgeMs: 9 });
    expect(policy("chat:quiet")).to.deep.equal({ maxLength: 7, maxAgeMs: 9 });
    expect(policy("news:quiet")).to.equal(null);
    expect(policy("news")?.maxLength).to.equal(7);
  });

  it("treats every character except the asterisk literally", () => {
    for (const [pattern, channel, matched] of [
      ["a*", "a\nb", true],
      ["*", "", true],
      ["a.c", "abc", false],
      ["a.*", "abc", false],
      ["(a|b)*", "a", false],
      ["[ab]*", "a", false],
      ["a?*", "a", false],
      ["^a*$", "a", false],
      ["a\\*", "a\\b", true],
      ["*🎉*", "a🎉b", true],
    ] as const)
      expect(policyOf({ channels: { [pattern]: false } })(channel) === null, pattern).to.equal(matched);
  });

  it("matches the same channels as the equivalent regular expression", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b", "*"), minLength: 1, maxLength: 8 });
    const name = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 10 });
    fc.assert(
      fc.property(text, name, (pattern, channel) => {
        const expected = new RegExp(`^${pattern.replaceAll("*", ".*")}$`).test(channel);
        expect(policyOf({ channels: { [pattern]: false } })(channel) === null).to.equal(expected);
      }),
      { numRuns: 5_000 },
    );
  });

  it("checks each subscribed channel every 30 s by default, with and without history", () => {
    for (const options of [{}, { checkMs: undefined }, false] as HistoryOptions[])
      expect(readHistoryOptions(options).checkMs).to.equal(30_000);
  });

  it("accepts check intervals from 100 ms to the longest timer delay", () => {
    for (const checkMs of [100, 2 ** 31 - 1])
      expect(readHistoryOptions({ checkMs }).checkMs).to.equal(checkMs);
  });

  const outOfRange: readonly unknown[] = [
    { maxlength: 5 },
    ...[0, 1.5, 1_000_001, "5", NaN, null].map((maxLength) => ({ maxLength })),
    ...[0, 31_536_000_001, Infinity].map((maxAgeMs) => ({ maxAgeMs })),
  ];
  const invalid: readonly unknown[] = [
    true,
    5,
    null,
    [],
    ...outOfRange,
    ...[99, 2 ** 31, NaN, null].map((checkMs) => ({ checkMs })),
    { channels: ["a"] },
    { channels: { "": false } },
    ...[...outOfRange, true, null, { checkMs: 1_000 }, { channels: {} }].map((a) => ({ channels: { a } })),
  ];

  it("rejects invalid options and limits that are out of range, globally and per channel", () => {
    for (const options of invalid)
      expect(() => readHistoryOptions(options as HistoryOptions), JSON.stringify(options)).to.throw(
        ConfigError,
      );
  });

  it("reports an invalid rule by its number and does not repeat the channel name", () => {
    const options = { channels: { fine: false, "user:ada@example.org": { maxLength: 0 } } } as const;
    expect(() => readHistoryOptions(options))
      .to.throw(ConfigError, /entry 2/)
      .and.not.match(/ada/);
  });
});
