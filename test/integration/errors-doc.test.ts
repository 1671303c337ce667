import { readFileSync } from "node:fs";

import { expect } from "chai";

import { errorsDoc, renderErrors } from "../support/errors-doc.js";

describe("docs/errors.md", () => {
  it("is what `npm run docs` writes from the catalogues", async () => {
    expect(readFileSync(errorsDoc, "utf8")).to.equal(await renderErrors());
  });
});
