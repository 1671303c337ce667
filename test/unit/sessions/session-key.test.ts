import { expect } from "chai";

import { ConfigError } from "../../../lib/errors.js";
import { readKey, readOnLimit } from "../../../lib/sessions/session-key.js";

describe("readKey()", () => {
  it("reads a string, a number and a bigint as text, and undefined and null as no key", () => {
    expect(readKey("ann")).to.equal("ann");
    expect(readKey("")).to.equal("");
    expect(readKey(7)).to.equal("7");
    expect(readKey(7n)).to.equal("7");
    expect(readKey(undefined)).to.equal(undefined);
    expect(readKey(null)).to.equal(undefined);
  });

  const REFUSED: readonly [unknown, string][] = [
    [["ann"], "an array"],
    [{ id: "ann" }, "an object"],
    [Promise.resolve("ann"), "a promise"],
    [() => "ann", "a function"],
    [true, "a boolean"],
    [Symbol("ann"), "a symbol"],
  ];
  for (const [key, type] of REFUSED) {
    it(`refuses ${type}, and names the type`, () => {
      expect(() => readKey(key)).to.throw(ConfigError, new RegExp(`, got ${type}$`));
    });
  }
});

describe("readOnLimit()", () => {
  it('reads the three policies, and undefined as "event"', () => {
    for (const policy of ["event", "status", "evict-oldest"]) expect(readOnLimit(policy)).to.equal(policy);
    expect(readOnLimit(undefined)).to.equal("event");
  });

  it("refuses any other value", () => {
    for (const value of [null, "evict", 429, {}]) expect(() => readOnLimit(value)).to.throw(ConfigError);
  });
});
