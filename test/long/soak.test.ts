import { expect } from "chai";

import { readArguments } from "../chaos/options.js";
import { formatReport } from "../chaos/report.js";
import { run } from "../chaos/run.js";
import { need } from "../support/prerequisites.js";

describe("a short soak run", () => {
  let program: string;

  before(async function () {
    program = await need("redis", this);
  });

  for (const mode of ["shared", "dedicated"] as const) {
    it(`${mode}: releases everything after clients have come and gone under random faults`, async () => {
      const [options] = readArguments(["soak", "--seconds", "6", "--clients", "300", "--mode", mode]);
      const report = await run(program, options!);
      expect(report.violations, formatReport(report)).to.deep.equal([]);
      // A run without events would pass too.
      expect(report.tally.of("connected events"), formatReport(report)).to.be.greaterThan(100);
      expect(report.tally.of("message events"), formatReport(report)).to.be.greaterThan(1_000);
      expect(report.faults.total, formatReport(report)).to.be.greaterThan(3);
    }).timeout(180_000);
  }
});
