import { expect } from "chai";

import { runChaos } from "../chaos/chaos.js";
import { readArguments } from "../chaos/options.js";
import { formatReport } from "../chaos/report.js";
import { need } from "../support/prerequisites.js";

describe("chaos, for a short time", () => {
  let program: string;

  before(async function () {
    program = await need("redis", this);
  });

  it("every event comes once and in order, whatever happens to Redis, links and processes", async () => {
    const options = readArguments(["--seconds", "10", "--clients", "60", "--publishers", "8"]);
    const report = await runChaos(program, options);
    expect(report.violations, formatReport(report)).to.deep.equal([]);
    // A run in which nothing happened would hold as well.
    expect(report.acknowledged, formatReport(report)).to.be.greaterThan(200);
    expect(report.tally.of("resumptions"), formatReport(report)).to.be.greaterThan(100);
    expect(report.tally.of("gap events"), formatReport(report)).to.be.greaterThan(0);
    expect(report.faults.total, formatReport(report)).to.be.greaterThan(10);
  }).timeout(240_000);
});
