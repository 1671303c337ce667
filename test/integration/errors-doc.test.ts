import { readFileSync } from "node:fs";

import { expect } from "chai";

import { errorsDoc, renderErrors } from "../support/errors-doc.js";

describe("docs/errors.md", () => {
  it("matches the output of `npm run docs`", async () => {
    expect(readFileSync(errorsDoc, "utf8")).to.equal(await renderErrors());
  });
});
