import { format } from "node:util";

import { expect } from "chai";
import createDebug from "debug";

import { createLog, printable } from "../../lib/log.js";

describe("printable()", () => {
  for (const name of [
    "notifications:admin",
    "",
    "with space",
    "ünï·コード🎉",
    '"quoted"',
    "back\\slash",
    "%s",
  ]) {
    it(`shows ${JSON.stringify(name)} as it is`, () => {
      expect(printable(name)).to.equal(name);
    });
  }

  const forging = {
    "a line feed": "a\n[SSE] client disconnected",
    "a carriage return": "a\rb",
    NUL: "a\u0000b",
    "an escape sequence": "\u001b[2Ja",
    DEL: "a\u007fb",
    "the one-character escape of C1": "a\u009b2Jb",
    "the C1 line end": "a\u0085b",
    "the line separator": "a\u2028b",
    "the paragraph separator": "a\u2029b",
  };
  for (const [what, name] of Object.entries(forging)) {
    it(`escapes ${what}, in a form that reads back as the name`, () => {
      const shown = printable(name);
      // oxlint-disable-next-line no-control-regex -- control characters are what must not be left
      expect(shown).not.to.match(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
      expect(JSON.parse(shown)).to.equal(name);
    });
  }
});

describe("createLog()", () => {
  let lines: string[];
  let logBefore: typeof createDebug.log;
  let enabledBefore: string;

  beforeEach(() => {
    lines = [];
    logBefore = createDebug.log;
    enabledBefore = createDebug.disable();
    createDebug.log = (...values: unknown[]) => lines.push(format(...values));
  });

  afterEach(() => {
    createDebug.log = logBefore;
    createDebug.enable(enabledBefore);
  });

  it("writes to its own namespace when that is enabled", () => {
    createDebug.enable("redis-sse:hub");
    createLog("hub")("%d channels of %s", 3, "admin");
    createLog("session")("not this");
    expect(lines).to.have.length(1);
    expect(lines[0]).to.contain("redis-sse:hub").and.to.contain("3 channels of admin");
  });

  it("writes nothing when it is off", () => {
    createDebug.enable("");
    createLog("hub")("nobody reads this");
    expect(lines).to.deep.equal([]);
  });

  it("does not read a value as a format", () => {
    createDebug.enable("redis-sse:*");
    createLog("pool")("lease of %s", "%d%s%o");
    expect(lines[0]).to.contain("lease of %d%s%o");
  });
});
