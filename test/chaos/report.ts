import type { Tally } from "../soak/tally.js";
import { seconds, type FaultRecord } from "./fault-runner.js";
import type { Violation } from "./findings.js";
import type { ChaosOptions } from "./options.js";

export interface ChaosReport {
  readonly options: ChaosOptions;
  readonly violations: readonly Violation[];
  /** Connections, and what came over them. */
  readonly tally: Tally;
  readonly faults: Tally;
  readonly faultRecords: readonly FaultRecord[];
  readonly acknowledged: number;
  readonly uncertain: number;
  /** Of those that were acknowledged: gone with a server from which another took over. */
  readonly lost: number;
  /** What the apps say of themselves, where somebody did not catch up. */
  readonly appStatus: readonly string[];
  readonly tookMs: number;
}

/** A report in words; one of a failed run holds all that is needed to look into it. */
export function formatReport(report: ChaosReport): string {
  const { options, violations, tally, faults, acknowledged, uncertain, lost, tookMs } = report;
  const { topology, clients, publishers, seed } = options;
  const held =
    topology === "single"
      ? "every event came once, in order"
      : "every event came once, in order, or was told as lost";
  const lines = [
    `seed ${seed}, ${topology}, ${options.seconds} s of faults, ${clients} clients, ${publishers} publishers: ${violations.length === 0 ? held : "FAILED"}`,
    `  published   ${acknowledged} acknowledged, ${uncertain} uncertain, ${lost} lost; ${seconds(tookMs)} in all`,
    `  clients     ${tally.text}`,
    `  faults      ${faults.text}`,
  ];
  return (violations.length === 0 ? lines : [...lines, ...failures(report)]).join("\n");
}

function failures({ violations, faultRecords, appStatus, options }: ChaosReport): readonly string[] {
  const { topology, clients, publishers, seed } = options;
  const lines = ["  what did not hold:"];
  for (const { rule, count, examples } of violations) {
    lines.push(`    ${rule}: ${count} times`);
    for (const example of examples) lines.push(`      ${example.replaceAll("\n", "\n      ")}`);
  }
  lines.push(...appStatus.map((line) => `    ${line}`), "  the faults:");
  for (const { begunMs, kind, durationMs, choice, outcome } of faultRecords) {
    lines.push(
      `  ${seconds(begunMs).padStart(10)}  ${kind} for ${durationMs} ms (${choice.toFixed(3)}): ${outcome}`,
    );
  }
  lines.push(
    `  once more: npm run chaos -- --topology ${topology} --seconds ${options.seconds} --clients ${clients} --publishers ${publishers} --seed ${seed}`,
  );
  return lines;
}
