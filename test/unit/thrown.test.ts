import { runInNewContext } from "node:vm";

import { expect } from "chai";
import * as fc from "fast-check";

import { ConfigError, RedisSseError, TaskFailure } from "../../lib/index.js";
import {
  cutBytes,
  describeThrown,
  ignoreRejection,
  isInstance,
  isRedisSseError,
  nameOfThrown,
} from "../../lib/thrown.js";
import { anotherCopy } from "../support/another-copy.js";
import { anyThrown, HOSTILE, unreadable } from "../support/hostile.js";

describe("isRedisSseError()", () => {
  it("is true for errors of this library, also of another copy", async () => {
    const { RedisSseError: Other, ConfigError: OtherConfigError } = await anotherCopy();
    expect(new Other("TIMEOUT", "x")).to.not.be.instanceOf(RedisSseError);
    for (const error of [
      new ConfigError("x"),
      new RedisSseError("TIMEOUT", "x"),
      new Other("TIMEOUT", "x"),
      new OtherConfigError("x"),
    ]) {
      expect(isRedisSseError(error)).to.equal(true);
    }
  });

  it("is false for every other value", () => {
    for (const value of [
      new Error("x"),
      Object.assign(new Error("x"), { code: "ECONNRESET", retryable: true }),
      Object.assign(new Error("x"), { code: "TIMEOUT" }),
      Object.assign(new Error("x"), { code: "toString", retryable: true }),
      null,
      undefined,
      "TIMEOUT",
      unreadable(),
    ]) {
      expect(isRedisSseError(value)).to.equal(false);
    }
  });
});

describe("describeThrown()", () => {
  it("returns the name and message, then the stack", () => {
    expect(describeThrown(new TypeError("no"))).to.match(/^TypeError: no\n +at .*thrown\.test/);
  });

  it("adds up to five causes, each with its stack", () => {
    const chain = (depth: number): Error =>
      new Error(`level ${depth}`, { cause: depth > 0 && chain(depth - 1) });
    const text = describeThrown(chain(9));
    expect(text.match(/level \d/g)).to.deep.equal([9, 8, 7, 6, 5, 4].map((depth) => `level ${depth}`));
    expect(describeThrown(new Error("no", { cause: "text" }))).to.match(/\nCaused by: text$/);
    expect(describeThrown(new Error("no", { cause: null }))).to.not.include("Caused by");
  });

  it("returns the name and message of an error from another realm", () => {
    expect(describeThrown(runInNewContext("new RangeError('far')"))).to.match(/^RangeError: far\n +at /);
  });

  for (const [value, text] of [
    ["as it is", "as it is"],
    ["", "threw ''"],
    [null, "threw null"],
    [undefined, "threw undefined"],
    [7n, "threw 7n"],
    [{ code: 5 }, "threw { code: 5 }"],
    [Object.assign(new Error(), { message: { code: 5 }, stack: "" }), "Error: { code: 5 }"],
    [Object.assign(new Error("no"), { name: 5, stack: 7 }), "Error: no"],
  ] as const) {
    it(`returns ${JSON.stringify(text)} for a value without a stack`, () =>
      expect(describeThrown(value)).to.equal(text));
  }

  it("does not call functions of the value, and describes an unreadable value", () => {
    let called = 0;
    const handler = { get: () => void called++, ownKeys: () => (called++, []) };
    expect(describeThrown({ inner: new Proxy({ a: 1 }, handler) })).to.include("a: 1");
    expect(called).to.equal(0);
    expect(describeThrown(unreadable())).to.be.a("string");
  });

  for (const [what, make] of Object.entries(HOSTILE)) {
    it(`returns at most 8 KB for ${what}`, () => {
      const thrown = make();
      ignoreRejection(thrown);
      const text = describeThrown(thrown);
      expect(text).to.be.a("string").and.not.equal("");
      expect(Buffer.byteLength(text)).to.be.at.most(8 * 1024);
      expect(nameOfThrown(thrown)).to.be.a("string");
      expect(isInstance(thrown, TaskFailure)).to.equal(false);
    });
  }

  it("does not show an object with too many properties, also if it is nested", () => {
    const large = Object.fromEntries(Array.from({ length: 1_001 }, (_, index) => [`p${index}`, index]));
    for (const thrown of [large, { inner: large }, { inner: [large] }]) {
      expect(describeThrown(thrown)).to.equal("threw an object with more than 1000 properties");
    }
    // inspect() limits these values itself or does not read them.
    expect(describeThrown(Array.from({ length: 5_000 }, () => 1))).to.include("4990 more items");
    expect(describeThrown([[[[large]]]])).to.include("[Array]");
  });

  it("returns a text for any value", () => {
    fc.assert(
      fc.property(anyThrown, (make) => {
        const thrown = make();
        ignoreRejection(thrown);
        expect(Buffer.byteLength(describeThrown(thrown))).to.be.within(1, 8 * 1024);
      }),
    );
  });

  it("cuts the text between characters", () => {
    expect(cutBytes("aé😀", 7)).to.equal("aé😀");
    expect(cutBytes("aé😀", 6)).to.equal("aé");
    expect(cutBytes("aé😀", 2)).to.equal("a");
  });
});
