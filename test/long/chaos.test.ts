import { expect } from "chai";

import type { FaultKind } from "../chaos/fault-plan.js";
import { readArguments } from "../chaos/options.js";
import { formatReport } from "../chaos/report.js";
import { run } from "../chaos/run.js";
import { need } from "../support/prerequisites.js";

/**
 * The plans of these seeds contain every fault of the topology, but no master that wakes after its replacement. Events
 * that such a master acknowledges are lost, possibly without a gap event (`docs/protocol.md`).
 */
const RUNS: readonly (readonly [args: string, events: string, kinds: readonly FaultKind[]])[] = [
  ["--topology single --seconds 8 --clients 60", "gap events", ["kill-app", "crash-redis", "cut-streams"]],
  [
    "--topology cluster --seed 237 --seconds 20 --clients 40",
    "message events",
    ["crash-redis", "stop-redis", "fail-over", "cut-bus"],
  ],
  [
    "--topology sentinel --seed 8 --seconds 20 --clients 40",
    "message events",
    ["crash-redis", "stop-redis", "fail-over"],
  ],
];

describe("a short chaos run", () => {
  let program: string;

  before(async function () {
    program = await need("redis", this);
  });

  for (const [args, events, kinds] of RUNS) {
    it(`${args}: delivers every event once and in order, or sends a gap event`, async () => {
      const [options] = readArguments([...args.split(" "), "--publishers", "8"]);
      const report = await run(program, options!);
      expect(report.violations, formatReport(report)).to.deep.equal([]);
      // A run without events would pass too.
      expect(report.ledger.acknowledged, formatReport(report)).to.be.greaterThan(200);
      expect(report.tally.of("resumptions"), formatReport(report)).to.be.greaterThan(100);
      expect(report.tally.of(events), formatReport(report)).to.be.greaterThan(0);
      // On a busy machine, a server may be too slow for some of the faults.
      const begun = report.faultRecords.map(({ kind }) => kind);
      expect(begun, formatReport(report)).to.include.members([...kinds]);
      expect(report.faults.of("missed"), formatReport(report)).to.be.lessThan(begun.length / 2);
    }).timeout(240_000);
  }
});
