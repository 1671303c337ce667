import { expect } from "chai";

import { ConfigError } from "../../../lib/errors.js";
import { assertStreamOptions, readKey } from "../../../lib/sessions/stream-options.js";

describe("readKey()", () => {
  it("converts strings, numbers and bigints to text, and undefined and null to no key", () => {
    const keys = ["ann", "", 7, 7n, undefined, null].map(readKey);
    expect(keys).to.deep.equal(["ann", "", "7", "7", undefined, undefined]);
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
    it(`rejects ${type} and names the type`, () => {
      expect(() => readKey(key)).to.throw(ConfigError, new RegExp(`, got ${type}$`));
    });
  }
});

describe("assertStreamOptions()", () => {
  const TAKEN: Readonly<Record<string, readonly unknown[]>> = {
    heartbeatMs: [1, 15_000, false, undefined],
    retryMs: [1, 2_000, undefined],
    slowConsumer: ["disconnect", "drop-oldest", "latest", { latestBy: () => "" }, undefined],
    onLimit: ["event", "status", "evict-oldest", undefined],
    onUnavailable: ["event", "status", undefined],
    resume: ["all", "since-admission", { maxAgeMs: 1 }, false, undefined],
    from: ["now", "earliest", undefined],
    revalidate: [
      { everyMs: 1, check: () => true },
      { everyMs: 60_000, check: async () => true, onError: "end" },
      { everyMs: 60_000, check: () => true, onError: undefined },
      undefined,
    ],
    filter: [() => true, undefined],
    transform: [() => null, undefined],
    until: [() => false, undefined],
  };
  const REFUSED: Readonly<Record<string, readonly unknown[]>> = {
    heartbeatMs: [0, "1", null],
    retryMs: [1.5, null],
    slowConsumer: [
      ["newest", "Latest", new String("latest"), ["latest"], () => "", 1, true, null],
      [{}, { latestBy: "id" }, { latestBy: async () => "" }, { lastestBy: () => "" }],
      [{ latestBy: () => "", drop: true }],
    ].flat(),
    onLimit: ["evict", 429, {}, null],
    onUnavailable: ["evict-oldest", 503, null],
    resume: ["none", true, null, 0, {}, [], { maxAgeMs: 0 }, { maxAgeMs: "1" }, { maxAgeMs: 1, from: "now" }],
    from: ["latest", 0, null],
    revalidate: [
      [60_000, () => true, null, [], {}, { everyMs: 60_000 }, { check: () => true }],
      [0, 1.5, 2 ** 31, Infinity, "60s"].map((everyMs) => ({ everyMs, check: () => true })),
      [
        { everyMs: 1, check: true },
        { everyMs: 1, check: () => true, onError: "close" },
        { everyMs: 1, check: () => true, timeoutMs: 1 },
      ],
    ].flat(),
    filter: ["role", true, async () => true, null, {}, /x/, [() => true]],
    transform: [{}, async () => null, null],
    until: ["done", async () => false, null],
  };
  for (const [name, values] of Object.entries(TAKEN)) {
    it(`accepts every valid ${name}`, () => {
      for (const value of values) expect(() => assertStreamOptions({ [name]: value })).not.to.throw();
    });
  }
  for (const [name, values] of Object.entries(REFUSED)) {
    it(`rejects any other ${name} and names the option`, () => {
      for (const value of values) {
        expect(() => assertStreamOptions({ [name]: value })).to.throw(ConfigError, name);
      }
    });
  }
});
