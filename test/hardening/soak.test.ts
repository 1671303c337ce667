import { expect } from "chai";

import { readArguments } from "../soak/options.js";
import { formatReport } from "../soak/report.js";
import { runSoak } from "../soak/soak.js";
import { need } from "../support/prerequisites.js";

describe("a short soak", () => {
  let program: string;

  before(async function () {
    program = await need("redis", this);
  });

  for (const mode of ["shared", "dedicated"] as const) {
    it(`${mode}: clients come and go under random faults, and everything returns`, async () => {
      const [options] = readArguments(["--seconds", "6", "--clients", "300", "--mode", mode]);
      const report = await runSoak(program, options!);
      expect(report.violations, formatReport(report)).to.deep.equal([]);
      expect(report.tally.of("streams"), formatReport(report)).to.be.greaterThan(100);
    }).timeout(180_000);
  }
});
