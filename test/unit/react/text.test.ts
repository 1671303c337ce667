import { expect } from "chai";

import { appendText } from "../../../react/text.js";

describe("appendText()", () => {
  it("keeps at most the last 4 Mi characters", () => {
    const text = appendText("a".repeat(4 * 1024 * 1024), "bc");
    expect(text).to.have.length(4 * 1024 * 1024);
    expect(text.slice(-3)).to.equal("abc");
  });
});
