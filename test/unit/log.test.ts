import { expect } from "chai";

import { createLog, printable } from "../../lib/log.js";
import { captureLog } from "../support/service.js";

describe("printable()", () => {
  it("returns a name without control characters unchanged", () => {
    for (const name of [
      "notifications:admin",
      "",
      "with space",
      "ünï·コード🎉",
      '"quoted"',
      "back\\slash",
      "%s",
    ])
      expect(printable(name)).to.equal(name);
  });

  const forging = {
    "a line feed": "a\n[SSE] client disconnected",
    "a carriage return": "a\rb",
    NUL: "a\u0000b",
    "an escape sequence": "\u001b[2Ja",
    DEL: "a\u007fb",
    "the C1 control sequence introducer": "a\u009b2Jb",
    "the C1 next-line character": "a\u0085b",
    "the line separator": "a\u2028b",
    "the paragraph separator": "a\u2029b",
  };
  for (const [what, name] of Object.entries(forging)) {
    it(`escapes ${what} as JSON`, () => {
      const shown = printable(name);
      // oxlint-disable-next-line no-control-regex -- the output must not contain control characters
      expect(shown).not.to.match(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
      expect(JSON.parse(shown)).to.equal(name);
    });
  }
});

describe("createLog()", () => {
  it("writes to its own namespace if it is enabled, and does not use values as format strings", () => {
    const said = captureLog("redis-sse:hub");
    createLog("hub")("%d channels of %s", 3, "%d%s%o");
    createLog("session")("not this");
    said.restore();
    expect(said.lines).to.have.length(1);
    expect(said.lines[0]).to.contain("redis-sse:hub").and.to.contain("3 channels of %d%s%o");
  });
});
