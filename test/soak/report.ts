import { MAX_HEAP_GROWTH_BYTES, type SoakReport } from "./soak.js";

/** A report in words; one of a failed run holds all that is needed to look into it. */
export function formatReport(report: SoakReport): string {
  const { options, violations, tally, faults } = report;
  const { mode, seconds, seed, clients } = options;
  const counted = (name: string): number => tally.of(name);
  const lines = [
    `${mode}, ${seconds} s, seed ${seed}, ${clients} clients at a time: ${violations.length === 0 ? "every invariant held" : "FAILED"}`,
    `  streams     ${counted("streams")} of ${counted("asked")} requests; ${counted("ended by the server")} ended by the server, ${counted("reconnects")} reconnects`,
    `  faults      ${faults.total}: ${faults.text}`,
    `  events      ${counted("events")} received of ${report.published} published; ${counted("gaps")} gaps, ${counted("heartbeats")} heartbeats`,
    `  told        ${report.faultsTold.text}`,
    `  closed      ${report.closed.text}`,
    `  stalled     ${counted("stalled")}; ${counted("cut while or after stalling")} cut for it, ${counted("cut while reading")} cut while reading`,
    `  app         at most ${report.mostRedisSockets} sockets to Redis; its heap grew by ${kib(report.heapGrowthBytes)} of ${kib(MAX_HEAP_GROWTH_BYTES)} KiB`,
  ];
  return (violations.length === 0 ? lines : [...lines, ...failures(report)]).join("\n");
}

function failures({ violations, faultRecords, appOutput, options }: SoakReport): readonly string[] {
  const { mode, seconds, seed, clients } = options;
  const lines = ["  what did not hold:"];
  for (const { rule, count, examples } of violations) {
    lines.push(`    ${rule}: ${count} times`, ...examples.map((example) => `      ${example}`));
  }
  lines.push("  the faults:");
  for (const { atRunMs, kind, durationMs, choice, outcome } of faultRecords) {
    const when = `${(atRunMs / 1_000).toFixed(2)} s`.padStart(10);
    lines.push(`  ${when}  ${kind} for ${durationMs} ms (${choice.toFixed(3)}): ${outcome}`);
  }
  if (appOutput !== "") lines.push("  the app printed:", appOutput);
  lines.push(
    `  once more: npm run soak -- --mode ${mode} --seconds ${seconds} --seed ${seed} --clients ${clients}`,
  );
  return lines;
}

function kib(bytes: number): string {
  return String(Math.round(bytes / 1_024));
}
