import { inspect } from "node:util";

import { expect } from "chai";

import { ConfigError } from "../../lib/errors.js";
import {
  assertObject,
  assertOptions,
  describe as shown,
  optionError,
  readMilliseconds,
  readWholeNumber,
} from "../../lib/validate.js";

describe("readMilliseconds()", () => {
  it("takes what a timer can wait, from the given minimum", () => {
    expect(readMilliseconds("x", 1)).to.equal(1);
    expect(readMilliseconds("x", 2 ** 31 - 1)).to.equal(2 ** 31 - 1);
    expect(readMilliseconds("x", 0, 0)).to.equal(0);
  });

  it("refuses what a timer would turn into 1 ms", () => {
    for (const value of [2 ** 31, 0, -1, NaN, Infinity]) {
      expect(() => readMilliseconds("timeoutMs", value)).to.throw(ConfigError, /timeoutMs/);
    }
  });
});

describe("readWholeNumber()", () => {
  it("takes whole numbers within its bounds, and these themselves", () => {
    for (const value of [1, 3, 5]) expect(readWholeNumber("x", value, 1, 5)).to.equal(value);
  });

  for (const value of [0, 6, 1.5, NaN, Infinity, "3", [3], null, undefined, {}, true, 3n]) {
    it(`refuses ${inspect(value)}`, () => {
      expect(() => readWholeNumber("x", value, 1, 5))
        .to.throw(ConfigError)
        .with.property("code", "CONFIG");
    });
  }

  it("names the option, the range and what came", () => {
    expect(() => readWholeNumber("limits.x", 9, 1, 5)).to.throw(
      "limits.x as a whole number from 1 to 5, got 9",
    );
  });
});

describe("assertObject()", () => {
  it("takes objects", () => {
    for (const value of [{}, Object.create(null), new Map()]) {
      expect(() => assertObject("pool", value)).not.to.throw();
    }
  });

  for (const value of [null, undefined, 5, "x", [], () => {}]) {
    it(`refuses ${inspect(value)}, and names the option`, () => {
      expect(() => assertObject("pool", value)).to.throw(ConfigError, /\bpool\b/);
    });
  }
});

describe("assertOptions()", () => {
  const known = new Set(["a", "b"]);

  it("takes an object with some of the known names, or none", () => {
    for (const value of [{}, { a: 1 }, { a: 1, b: 2 }]) {
      expect(() => assertOptions("pool", value, known)).not.to.throw();
    }
  });

  it("names an option that is not known, and those that are", () => {
    expect(() => assertOptions("pool", { a: 1, c: 2 }, known)).to.throw(ConfigError, /pool .*a, b.*"c"/);
  });

  it("refuses what is no object, and takes any name if no names are given", () => {
    expect(() => assertOptions("pool", [], known)).to.throw(ConfigError, "pool as an object, got an array");
    expect(() => assertOptions("pool", { c: 2 })).not.to.throw();
  });

  it("shows no more than a part of a long name", () => {
    expect(() => assertOptions("pool", { ["x".repeat(1_000)]: 1 }, known)).to.throw(
      ConfigError,
      /^.{1,120}$/,
    );
  });
});

describe("optionError()", () => {
  it("names the option and the type of its value, and never shows text", () => {
    expect(optionError("from as a word", "s3cret"))
      .to.be.instanceOf(ConfigError)
      .with.property("message", "expected from as a word, got a string");
  });
});

describe("describe()", () => {
  const cases = [
    [0, "0"],
    [1.5, "1.5"],
    [NaN, "NaN"],
    [true, "true"],
    [false, "false"],
    [null, "null"],
    [undefined, "undefined"],
    [[1], "an array"],
    [{}, "an object"],
    [Promise.resolve(), "a promise"],
    [() => {}, "a function"],
  ] as const;
  for (const [value, text] of cases) {
    it(`shows ${inspect(value)} as ${text}`, () => {
      expect(shown(value)).to.equal(text);
    });
  }

  it("shows nothing of a text, which may hold a password", () => {
    expect(shown("redis://u:secret@h")).to.equal("a string");
  });
});
