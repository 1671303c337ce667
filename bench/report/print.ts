import { comparisonsOf, tableOf } from "./columns.js";
import type { Section } from "./report.js";

/** A section for a terminal. */
export function printSection(section: Section): void {
  const rows = tableOf(section);
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  console.log(`\n${section.key}`);
  for (const row of rows) {
    const cells = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
    );
    console.log(cells.join("  ").trimEnd());
  }
  for (const line of comparisonsOf(section)) console.log(line);
  for (const { label, voids } of section.rows) {
    for (const reason of voids) console.log(`void: ${label}: ${reason}`);
  }
}
