import { expect } from "chai";

import { RedisSseError } from "../../lib/errors.js";
import { encodeJson, isLargerThan } from "../../lib/serialize.js";

describe("encodeJson()", () => {
  it("returns the JSON of a value", () => {
    for (const value of [null, 0, "", "text", [1], { a: [null] }, new Date(0)]) {
      expect(encodeJson(value, "data")).to.equal(JSON.stringify(value));
    }
  });

  const self: Record<string, unknown> = { name: "x" };
  self["self"] = self;
  const unserializable: readonly (readonly [says: string, value: unknown, expected: string])[] = [
    ["undefined", undefined, "undefined"],
    ["a function", () => {}, "a function"],
    ["a toJSON() that returns undefined", { toJSON: () => undefined }, "an object"],
    ["a BigInt", 1n, "data: a BigInt"],
    ["NaN", NaN, "NaN"],
    ["Infinity", Infinity, "Infinity"],
    ["a Map", new Map(), "a Map"],
    ["a Set", new Set(), "a Set"],
    ["a Buffer", Buffer.from("x"), "bytes"],
    ["an ArrayBuffer", new ArrayBuffer(1), "bytes"],
    ["a promise", Promise.resolve(1), "a promise"],
    ["a circular object", { user: self }, "data.user.self: circular"],
    ["a nested BigInt", { list: [1, { "a b": 1n }] }, "data.list[1][a b]: a BigInt"],
    ["a BigInt in a toJSON()", { at: { toJSON: () => 1n } }, "data.at.toJSON(): a BigInt"],
    [
      "a toJSON() that throws",
      {
        toJSON: () => {
          throw new Error("secret");
        },
      },
      "data: a getter or toJSON() that threw",
    ],
    [
      "a getter that throws",
      {
        a: {
          get b() {
            throw new Error("secret");
          },
        },
      },
      "data.a: a getter or toJSON() that threw",
    ],
    ["a BigInt under a key with a line break", { "\n": 1n }, 'data["\\n"]: a BigInt'],
  ];
  for (const [says, value, expected] of unserializable) {
    it(`rejects ${says} and names its place`, () => {
      expect(() => encodeJson(value, "data"))
        .to.throw(RedisSseError, `Cannot convert data to JSON: ${expected}`)
        .with.property("code", "UNSERIALIZABLE");
    });
  }

  it("stops searching in data that is too large or too deep", () => {
    const wide = Array.from({ length: 100_000 }, () => ({}));
    expect(() => encodeJson([wide, 1n], "data")).to.throw(RedisSseError, "data: too large or too deep");
    let deep: unknown = 1n;
    for (let depth = 0; depth < 1_000; depth++) deep = [deep];
    expect(() => encodeJson(deep, "data")).to.throw(RedisSseError, "data: too large or too deep");
  });

  it("encodes a nested Map and NaN as JSON.stringify() does", () => {
    expect(encodeJson({ map: new Map(), number: NaN }, "data")).to.equal('{"map":{},"number":null}');
  });
});

describe("isLargerThan()", () => {
  it("counts UTF-8 bytes", () => {
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
