import { expect } from "chai";
import * as fc from "fast-check";

import { historyKeys } from "../../../lib/history/history-keys.js";

/** Returns the part of a key that Redis Cluster hashes, as in its specification. */
function hashed(key: string): string {
  const open = key.indexOf("{");
  const close = key.indexOf("}", open + 1);
  return open >= 0 && close > open + 1 ? key.slice(open + 1, close) : key;
}

const name = fc.oneof(
  fc.string({ minLength: 1, unit: fc.constantFrom("{", "}", ":", "a", "b", "stray", "pos", "log") }),
  fc.string({ minLength: 1, unit: "binary" }),
);
const prefix = fc.constantFrom("", "redis-sse:", "app:");

describe("historyKeys()", () => {
  it("puts the channel name into both keys", () => {
    expect(historyKeys("sse:", "news")).to.deep.equal({ position: "sse:pos:{news}", log: "sse:log:{news}" });
    expect(historyKeys("sse:", "{u1}:in").log).to.equal("sse:log::{u1}:in");
    expect(historyKeys("sse:", "a{").log).to.equal("sse:log:{stray}a{");
  });

  it("never returns the same key for two channels", () => {
    fc.assert(
      fc.property(prefix, name, name, (own, one, another) => {
        fc.pre(one !== another);
        const keys = [historyKeys(own, one), historyKeys(own, another)].flatMap(({ position, log }) => [
          position,
          log,
        ]);
        expect(new Set(keys).size).to.equal(4);
      }),
      { numRuns: 5_000 },
    );
  });

  it("puts both keys into one slot: the channel's slot if it has a hash tag or no braces", () => {
    fc.assert(
      fc.property(prefix, name, (own, channel) => {
        const { position, log } = historyKeys(own, channel);
        expect(hashed(position)).to.equal(hashed(log));
        const isTagged = hashed(channel) !== channel;
        if (isTagged || !/[{}]/.test(channel)) expect(hashed(position)).to.equal(hashed(channel));
      }),
      { numRuns: 5_000 },
    );
  });
});
