import { expect } from "chai";

import { isLossMark, parseEntryId, placeOf } from "../../lib/entry-id.js";

describe("parseEntryId()", () => {
  const unknown = { stamp: 0, previousStamp: 0 };
  for (const [text, expected] of Object.entries({
    "17-50000005000017": { offset: 17, stamp: 5_000_017, previousStamp: 5_000_000 },
    "17-50000000000017": { offset: 17, stamp: 17, previousStamp: 5_000_000 },
    "1-1000000": { offset: 1, stamp: 1_000_000, previousStamp: 0 },
    "17": { offset: 17, ...unknown },
    "17-0": { offset: 17, ...unknown },
    "9007199254740991-0": { offset: Number.MAX_SAFE_INTEGER, ...unknown },
  })) {
    it(`reads ${text}`, () => expect(parseEntryId(text)).to.deep.equal(expected));
  }

  it("returns null for anything else", () => {
    for (const text of [
      "",
      "0-1",
      "-1",
      "017-0",
      "17-",
      "17-x",
      "17-1-1",
      " 17",
      "17-999999999999999",
      "9007199254740992",
    ])
      expect(parseEntryId(text), text).to.equal(null);
  });
});

describe("placeOf()", () => {
  it("returns stamps only if the entry has one", () => {
    const id = { offset: 2, stamp: 1_000_002, previousStamp: 1_000_001 };
    expect(placeOf("0badcafe", id)).to.deep.equal({ epoch: "0badcafe", ...id });
    expect(placeOf("0badcafe", { ...id, stamp: 0 })).to.deep.equal({ epoch: "0badcafe", offset: 2 });
  });
});

describe("isLossMark()", () => {
  it("is true for the stamps that the scripts use to mark a lost event", () => {
    expect([0, 1, 2, 3, 9_999_999].map(isLossMark)).to.deep.equal([false, true, true, false, false]);
  });
});
