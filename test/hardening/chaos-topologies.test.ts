import { expect } from "chai";

import { runChaos } from "../chaos/chaos.js";
import { readArguments } from "../chaos/options.js";
import { formatReport } from "../chaos/report.js";
import { need } from "../support/prerequisites.js";

/**
 * Seeds whose plans have all that can be done to a topology, and no master that wakes after it was replaced: what such a one
 * acknowledges is lost, and may be lost untold where others have filled its places (`docs/protocol.md`).
 */
const SEEDS = { cluster: "237", sentinel: "8" } as const;

for (const [topology, seed] of Object.entries(SEEDS)) {
  describe(`chaos over a ${topology}, for a short time`, () => {
    let program: string;

    before(async function () {
      program = await need("redis", this);
    });

    it("every event comes once and in order, or is told as lost", async () => {
      const sizes = ["--seconds", "20", "--clients", "40", "--publishers", "8"];
      const report = await runChaos(
        program,
        readArguments(["--topology", topology, "--seed", seed, ...sizes]),
      );
      expect(report.violations, formatReport(report)).to.deep.equal([]);
      // A run in which nothing happened would hold as well.
      expect(report.acknowledged, formatReport(report)).to.be.greaterThan(200);
      expect(report.tally.of("resumptions"), formatReport(report)).to.be.greaterThan(100);
      const cuts = topology === "cluster" ? ["cut-bus"] : [];
      for (const kind of ["crash-redis", "stop-redis", "fail-over", ...cuts]) {
        expect(report.faults.of(kind), formatReport(report)).to.be.greaterThan(0);
      }
    }).timeout(240_000);
  });
}
