import { inspect } from "node:util";

import { expect } from "chai";

import { RedisSseError } from "../../../lib/errors.js";
import type { ErrorCode } from "../../../lib/error-catalogue.js";
import { assertChannel, MAX_CHANNEL_BYTES, parseSelection } from "../../../lib/events/channel-name.js";

describe("assertChannel()", () => {
  const accepted = [
    "notifications:admin",
    "a",
    "with space",
    "*",
    "a?c",
    "h[ae]llo",
    "{tag}x",
    "__proto__",
    "constructor",
    "toString",
    "日本語",
    "🎉",
    "ss:e",
    "__key@0__:expired",
    "x__keyevent@0__:expired",
  ];
  for (const name of accepted) {
    it(`takes ${JSON.stringify(name)}`, () => {
      expect(() => assertChannel(name, "sse:")).not.to.throw();
    });
  }

  for (const name of ["a\r\nb", "a\u0000b", "\n", "a\tb", "\u001b[2J", "a\u007f", "\u001esse1"]) {
    it(`refuses ${JSON.stringify(name)}, which has control characters`, () => {
      expectFault("INVALID_CHANNEL", () => assertChannel(name, "sse:"));
    });
  }

  for (const name of ["", undefined, null, 5, true, {}, [], ["a"], Symbol("a"), new String("a"), () => "a"]) {
    it(`refuses ${inspect(name)}`, () => {
      expectFault("INVALID_CHANNEL", () => assertChannel(name, "sse:"));
    });
  }

  it("refuses a lone surrogate, which would be the name of another channel on the wire", () => {
    for (const name of ["a\ud83d", "\udc4da", "\udc4d\ud83d"]) {
      expectFault("INVALID_CHANNEL", () => assertChannel(name, "sse:"));
    }
  });

  it("counts bytes of UTF-8, and takes no more than the limit", () => {
    expect(() => assertChannel("x".repeat(MAX_CHANNEL_BYTES), "sse:")).not.to.throw();
    expect(() => assertChannel("é".repeat(MAX_CHANNEL_BYTES / 2), "sse:")).not.to.throw();
    expectFault("INVALID_CHANNEL", () => assertChannel("x".repeat(MAX_CHANNEL_BYTES + 1), "sse:"));
    expectFault("INVALID_CHANNEL", () => assertChannel(`${"é".repeat(MAX_CHANNEL_BYTES / 2)}x`, "sse:"));
  });

  for (const name of ["__keyspace@0__:user:1", "__keyevent@0__:expired", "sse:", "sse:queue:wake"]) {
    it(`forbids ${name}, which is not for browsers`, () => {
      expectFault("FORBIDDEN", () => assertChannel(name, "sse:"));
    });
  }

  it("forbids nothing more when there is no prefix", () => {
    expect(() => assertChannel("sse:queue", "")).not.to.throw();
    expectFault("FORBIDDEN", () => assertChannel("__keyevent@0__:del", ""));
  });

  it("repeats nothing of the name", () => {
    for (const name of ["secret\n", "secret\ud83d", `secret${"x".repeat(600)}`, "sse:secret"]) {
      expect(String(thrownBy(() => assertChannel(name, "sse:")))).not.to.contain("secret");
    }
  });
});

describe("parseSelection()", () => {
  for (const nothing of [null, undefined, false, []]) {
    it(`answers no channel for ${inspect(nothing)}`, () => {
      expect(parseSelection(nothing, "sse:")).to.deep.equal([]);
    });
  }

  it("answers one channel, or several in their order", () => {
    expect(parseSelection("a", "sse:")).to.deep.equal(["a"]);
    expect(parseSelection(["b", "a"], "sse:")).to.deep.equal(["b", "a"]);
  });

  it("answers each channel once", () => {
    expect(parseSelection(["b", "a", "b", "a"], "sse:")).to.deep.equal(["b", "a"]);
  });

  it("takes names that mean something to JavaScript as names", () => {
    expect(parseSelection(["__proto__", "constructor"], "sse:")).to.deep.equal(["__proto__", "constructor"]);
  });

  for (const selection of [
    true,
    5,
    "",
    {},
    [""],
    [undefined],
    ["a", null],
    ["a", 5],
    [["u:1", "admin"]],
    [[]],
    [{ a: "b" }],
    new Set(["a"]),
    { 0: "a", length: 1 },
  ]) {
    it(`refuses ${inspect(selection)}`, () => {
      expectFault("INVALID_CHANNEL", () => parseSelection(selection, "sse:"));
    });
  }

  it("refuses an array with a hole", () => {
    const names: string[] = [];
    names[1] = "a";
    expectFault("INVALID_CHANNEL", () => parseSelection(names, "sse:"));
  });

  it("refuses the whole selection for one forbidden channel", () => {
    expectFault("FORBIDDEN", () => parseSelection(["a", "sse:x"], "sse:"));
  });
});

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
