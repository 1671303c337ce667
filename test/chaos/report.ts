import { seconds, type FaultRecord } from "./faults.js";
import type { Violation } from "./findings.js";
import type { Ledger } from "./ledger.js";
import type { RunOptions } from "./options.js";
import { MAX_HEAP_GROWTH_BYTES, type ResourceJudge } from "./resource-judge.js";
import type { Tally } from "./tally.js";

export interface Report {
  readonly options: RunOptions;
  readonly violations: readonly Violation[];
  /** Connections and received events. */
  readonly tally: Tally;
  readonly faults: Tally;
  readonly faultRecords: readonly FaultRecord[];
  readonly ledger: Pick<Ledger, "acknowledged" | "uncertain">;
  /** Number of acknowledged events lost in a failover. */
  readonly lost: number;
  readonly resources: Pick<ResourceJudge, "closed" | "mostRedisSockets" | "heapGrowthBytes">;
  /** State of the apps, if a client did not catch up. */
  readonly appStatus: readonly string[];
  readonly tookMs: number;
}

/** The report as text. For a failed run it contains all data needed to investigate. */
export function formatReport(report: Report): string {
  const { options, violations, tally, faults, ledger, lost, resources, tookMs } = report;
  const { harness, topology, mode, clients, publishers, seed } = options;
  const told = topology === "single" ? "" : ", or was told as lost";
  const held =
    harness === "soak" ? "every rule held" : `every event came once, in order${told}; nothing stayed behind`;
  const what = harness === "soak" ? mode : `${topology}, ${publishers} publishers`;
  const lines = [
    `seed ${seed}, ${what}, ${options.seconds} s of faults, ${clients} clients: ${violations.length === 0 ? held : "FAILED"}`,
    `  published   ${ledger.acknowledged} acknowledged, ${ledger.uncertain} uncertain, ${lost} lost; ${seconds(tookMs)} in all`,
    `  clients     ${tally.text}`,
    `  faults      ${faults.total}: ${faults.text}`,
    `  closed      ${resources.closed.text}`,
  ];
  if (harness === "soak") {
    const kib = (bytes: number): number => Math.round(bytes / 1_024);
    lines.push(
      `  app         at most ${resources.mostRedisSockets} sockets to Redis; its heap grew by ${kib(resources.heapGrowthBytes)} of ${kib(MAX_HEAP_GROWTH_BYTES)} KiB`,
    );
  }
  return (violations.length === 0 ? lines : [...lines, ...failures(report)]).join("\n");
}

function failures({ violations, faultRecords, appStatus, options }: Report): readonly string[] {
  const { harness, topology, mode, clients, publishers, seed } = options;
  const lines = ["  what did not hold:"];
  for (const { rule, count, examples } of violations) {
    lines.push(`    ${rule}: ${count} times`);
    for (const example of examples) lines.push(`      ${example.replaceAll("\n", "\n      ")}`);
  }
  lines.push(...appStatus.map((line) => `    ${line}`), "  the faults:");
  for (const { begunMs, kind, durationMs, choice, outcome } of faultRecords) {
    const when = seconds(begunMs).padStart(10);
    lines.push(`  ${when}  ${kind} for ${durationMs} ms (${choice.toFixed(3)}): ${outcome}`);
  }
  const own = harness === "soak" ? `--mode ${mode}` : `--topology ${topology} --publishers ${publishers}`;
  const sizes = `--seconds ${options.seconds} --clients ${clients} --seed ${seed}`;
  lines.push(`  once more: npm run ${harness} -- ${own} ${sizes}`);
  return lines;
}
