import { expect } from "chai";

import { isLargerThan } from "../../lib/serialize.js";

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
