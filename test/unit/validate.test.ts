import { inspect } from "node:util";

import { expect } from "chai";

import { ConfigError } from "../../lib/errors.js";
import { assertOptions, describe as shown, readWholeNumber } from "../../lib/validate.js";

describe("readWholeNumber()", () => {
  it("takes whole numbers within its bounds, and these themselves", () => {
    for (const value of [1, 3, 5]) expect(readWholeNumber("x", value, 1, 5)).to.equal(value);
    for (const value of [0, 6, 1.5, NaN, Infinity, "3", [3], null, undefined, {}, true, 3n])
      expect(() => readWholeNumber("limits.x", value, 1, 5), inspect(value)).to.throw(
        ConfigError,
        `limits.x as a whole number from 1 to 5, got ${shown(value)}`,
      );
  });
});

describe("assertOptions()", () => {
  const known = new Set(["a", "b"]);

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

describe("describe()", () => {
  it("shows numbers and truth values, and of anything else its type: a text may hold a password", () => {
    for (const [value, text] of [
      [1.5, "1.5"],
      [NaN, "NaN"],
      [false, "false"],
      [null, "null"],
      [undefined, "undefined"],
      [[1], "an array"],
      [{}, "an object"],
      [Promise.resolve(), "a promise"],
      [() => {}, "a function"],
      ["redis://u:secret@h", "a string"],
    ] as const)
      expect(shown(value)).to.equal(text);
  });
});
