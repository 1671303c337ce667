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
  it("counts the bytes of UTF-8", () => {
    for (const [text, bytes] of [
      ["x", 1],
      ["xxxx", 4],
      ["é", 2],
      ["€€", 6],
      ["🎉", 4],
      ["\ud83d", 3],
    ] as const) {
      expect(isLargerThan(text, bytes), text).to.equal(false);
      expect(isLargerThan(text, bytes - 1), text).to.equal(true);
    }
  });
});
