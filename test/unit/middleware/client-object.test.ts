import type { Request } from "express";
import { expect } from "chai";
import * as fc from "fast-check";

import { isClientObject } from "../../../middleware/client-object.js";

/** A request whose query is parsed again at each access, as in Express 5. */
const requestOf = (query: () => unknown, body?: unknown, cookies?: unknown): Request =>
  ({
    get query() {
      return query();
    },
    body,
    cookies,
  }) as Request;

/** All objects in a value, and not the arrays around them. */
function objectsIn(value: unknown): readonly object[] {
  if (typeof value !== "object" || value === null) return [];
  const inner = Object.values(value).flatMap(objectsIn);
  return Array.isArray(value) ? inner : [value, ...inner];
}

/** What query parsers make: text, lists and objects, with and without a prototype. */
const parsed = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", maxDepth: 5 },
    fc.string({ maxLength: 3 }),
    fc.array(tie("value"), { maxLength: 2 }),
    fc.dictionary(fc.constantFrom("channels", "key", "id", "__proto__", "x"), tie("value"), {
      maxKeys: 3,
      noNullPrototype: false,
    }),
  ),
})).value;

describe("isClientObject()", () => {
  it("finds each object in a query, also if the query is parsed again", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), parsed), (query) => {
        const req = requestOf(() => copyOf(query));
        for (const object of objectsIn(query)) {
          expect(isClientObject(object, req)).to.equal(true);
        }
      }),
    );
  });

  it("finds each object in a body or in the cookies, but not a copy of it", () => {
    fc.assert(
      fc.property(parsed, (body) => {
        for (const req of [requestOf(() => "", body), requestOf(() => "", undefined, { room: body })]) {
          for (const object of objectsIn(body)) {
            expect(isClientObject(object, req)).to.equal(true);
            expect(isClientObject({ ...object }, req)).to.equal(false);
          }
        }
      }),
    );
  });

  it("accepts every other answer", () => {
    const req = requestOf(() => ({ room: ["a"], other: { channels: "a", key: "ann" } }), "text");
    for (const answer of [
      "a",
      ["a"],
      null,
      undefined,
      false,
      7,
      {},
      { channels: "a" },
      { channels: "a", key: 1 },
    ]) {
      expect(isClientObject(answer, req)).to.equal(false);
    }
    expect(
      isClientObject(
        {},
        requestOf(() => undefined),
      ),
    ).to.equal(false);
  });
});

function copyOf(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(copyOf);
  const copy = Object.create(Object.getPrototypeOf(value) as object | null) as Record<string, unknown>;
  for (const [name, each] of Object.entries(value)) {
    Object.defineProperty(copy, name, {
      value: copyOf(each),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return copy;
}
