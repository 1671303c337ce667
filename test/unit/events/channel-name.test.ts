import { inspect } from "node:util";

import { expect } from "chai";

import { RedisSseError } from "../../../lib/errors.js";
import type { ErrorCode } from "../../../lib/catalogue/error-catalogue.js";
import { assertChannel, MAX_CHANNEL_BYTES, parseSelection } from "../../../lib/events/channel-name.js";

describe("assertChannel()", () => {
  const accepted: readonly (readonly string[])[] = [
    ["notifications:admin", "a", "with space", "*", "a?c", "h[ae]llo", "{tag}x", "日本語", "🎉", "ss:e"],
    ["__proto__", "constructor", "toString"],
    ["__key@0__:expired", "x__keyevent@0__:expired"],
    ["x".repeat(MAX_CHANNEL_BYTES), "é".repeat(MAX_CHANNEL_BYTES / 2)],
  ];
  for (const name of accepted.flat()) {
    it(`accepts ${label(name)}`, () => {
      expect(() => assertChannel(name, "sse:")).not.to.throw();
    });
  }

  const refused: readonly (readonly unknown[])[] = [
    ["a\r\nb", "a\u0000b", "\n", "a\tb", "\u001b[2J", "a\u007f", "\u001esse1"],
    // UTF-8 replaces a lone surrogate, so Redis would use another channel name.
    ["a\ud83d", "\udc4da", "\udc4d\ud83d"],
    ["", undefined, null, 5, true, {}, [], ["a"], Symbol("a"), new String("a"), () => "a"],
    // The limit counts UTF-8 bytes.
    ["x".repeat(MAX_CHANNEL_BYTES + 1), `${"é".repeat(MAX_CHANNEL_BYTES / 2)}x`],
  ];
  for (const name of refused.flat()) {
    it(`rejects ${label(name)}`, () => {
      expectFault("INVALID_CHANNEL", () => assertChannel(name, "sse:"));
    });
  }

  for (const name of ["__keyspace@0__:user:1", "__keyevent@0__:expired", "sse:", "sse:queue:wake"]) {
    it(`forbids the internal channel ${name}`, () => {
      expectFault("FORBIDDEN", () => assertChannel(name, "sse:"));
    });
  }

  it("forbids only keyspace channels if the prefix is empty", () => {
    expect(() => assertChannel("sse:queue", "")).not.to.throw();
    expectFault("FORBIDDEN", () => assertChannel("__keyevent@0__:del", ""));
  });

  it("does not repeat the name in the error", () => {
    for (const name of ["secret\n", "secret\ud83d", `secret${"x".repeat(600)}`, "sse:secret"]) {
      expect(String(thrownBy(() => assertChannel(name, "sse:")))).not.to.contain("secret");
    }
  });
});

describe("parseSelection()", () => {
  for (const [selection, channels] of [
    [null, []],
    [undefined, []],
    [false, []],
    [[], []],
    ["a", ["a"]],
    [
      ["b", "a", "b", "a"],
      ["b", "a"],
    ],
    [
      ["__proto__", "constructor"],
      ["__proto__", "constructor"],
    ],
  ]) {
    it(`returns each channel of ${inspect(selection)} once, in order`, () => {
      expect(parseSelection(selection, "sse:")).to.deep.equal(channels);
    });
  }

  const withHole: string[] = [];
  withHole[1] = "a";
  const refused: readonly (readonly unknown[])[] = [
    [true, 5, "", {}, [""], [undefined], ["a", null], ["a", 5], [["u:1", "admin"]], [[]], [{ a: "b" }]],
    [new Set(["a"]), { 0: "a", length: 1 }, withHole],
  ];
  for (const selection of refused.flat()) {
    it(`rejects ${inspect(selection)}`, () => {
      expectFault("INVALID_CHANNEL", () => parseSelection(selection, "sse:"));
    });
  }

  it("rejects the whole selection if one channel is forbidden", () => {
    expectFault("FORBIDDEN", () => parseSelection(["a", "sse:x"], "sse:"));
  });
});

function label(name: unknown): string {
  return typeof name === "string" && name.length > 100 ? `${name.length} characters` : inspect(name);
}

function expectFault(code: ErrorCode, call: () => unknown): void {
  const thrown = thrownBy(call);
  expect(thrown).to.be.instanceOf(RedisSseError);
  expect(thrown).to.include({ code });
}

function thrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  return expect.fail("expected it to throw");
}
