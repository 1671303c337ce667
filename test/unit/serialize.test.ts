import { expect } from "chai";

import { RedisSseError } from "../../lib/errors.js";
import { encodeJson, isLargerThan } from "../../lib/serialize.js";

describe("encodeJson()", () => {
  it("answers the JSON of what has one", () => {
    for (const value of [null, 0, "", "text", [1], { a: [null] }, new Date(0)]) {
      expect(encodeJson(value, "data")).to.equal(JSON.stringify(value));
    }
  });

  it("names what has none, and its type", () => {
    for (const value of [undefined, () => {}, Symbol("x"), 1n]) {
      expect(() => encodeJson(value, "payload"))
        .to.throw(RedisSseError, new RegExp(`payload .*${typeof value}`))
        .with.property("code", "UNSERIALIZABLE");
    }
  });

  it("repeats nothing of what a toJSON() threw", () => {
    const value = {
      toJSON: () => {
        throw new Error("secret");
      },
    };
    expect(() => encodeJson(value, "data")).to.throw(RedisSseError, /^(?!.*secret)/);
  });
});

describe("isLargerThan()", () => {
  const cases = [
    ["", 0, false],
    ["x", 0, true],
    ["xxx", 3, false],
    ["xxxx", 3, true],
    ["é", 2, false],
    ["é", 1, true],
    ["€€", 6, false],
    ["€€", 5, true],
    ["🎉", 4, false],
    ["🎉", 3, true],
    ["\ud83d", 3, false],
    ["\ud83d", 2, true],
  ] as const;
  for (const [value, maxBytes, larger] of cases) {
    it(`finds ${JSON.stringify(value)} ${larger ? "larger" : "no larger"} than ${maxBytes} bytes`, () => {
      expect(isLargerThan(value, maxBytes)).to.equal(larger);
    });
  }
});
