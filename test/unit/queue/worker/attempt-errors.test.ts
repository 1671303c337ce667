import { expect } from "chai";
import * as fc from "fast-check";

import { addError } from "../../../../lib/queue/worker/attempt-errors.js";

describe("addError()", () => {
  const after = (...errors: string[]): string =>
    errors.reduce((stored, error) => addError(error, stored), "");

  it("keeps the errors of the last three attempts, newest first", () => {
    expect(after("one")).to.equal("one");
    expect(after("one", "two", "three", "four")).to.equal(
      "four\nEarlier attempt: three\nEarlier attempt: two",
    );
  });

  it("keeps at most 8 KB in total and at most 2 KB of each earlier error", () => {
    const text = after("a".repeat(9_000), "b".repeat(9_000), "é".repeat(9_000));
    expect(Buffer.byteLength(text)).to.be.within(8_100, 8_192);
    const [newest, second, third] = text.split("\nEarlier attempt: ");
    expect(Buffer.byteLength(newest!)).to.be.above(4_000);
    expect(second).to.equal("b".repeat(2_048));
    expect(third).to.equal("a".repeat(2_048));
  });

  it("keeps any error texts separate", () => {
    const line = fc.constantFrom("Earlier attempt: x", "Error: y", "", " at z");
    const error = fc.array(line, { minLength: 1, maxLength: 4 }).map((lines) => `E\n${lines.join("\n")}`);
    fc.assert(
      fc.property(fc.array(error, { minLength: 1, maxLength: 6 }), (errors) => {
        expect(after(...errors).split("\nEarlier attempt: ")).to.have.length(Math.min(errors.length, 3));
      }),
    );
  });
});
