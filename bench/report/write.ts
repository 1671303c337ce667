import { mkdir, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";

import { docs, out, source } from "../harness/paths.js";
import { renderChart } from "./chart.js";
import { isFull, type Report } from "./report.js";
import { renderResults } from "./results.js";

/** Beside the sources only what may be quoted; everything else where it is thrown away. Answers the files. */
export async function writeReport(report: Report): Promise<readonly string[]> {
  const folder = isFull(report) ? source : out;
  await mkdir(folder, { recursive: true });
  const results = join(folder, "RESULTS.md");
  await writeFile(results, renderResults(report));
  const written = [results];
  if (report.sections.some(({ key }) => key === "burst")) {
    // The README shows the chart of a full run, and the package has docs/ but not bench/.
    const chart = join(isFull(report) ? docs : out, "chart.svg");
    await writeFile(chart, renderChart(report));
    written.push(chart);
  }
  return written.map((file) => relative(process.cwd(), file));
}
