import { adviceFor, locate } from "../support/prerequisites.js";
import { ArgumentError, readArguments, type RunOptions } from "./options.js";
import { formatReport } from "./report.js";
import { run } from "./run.js";

/** Exit codes: 0 if all rules held, 1 if a rule was violated, 2 for invalid arguments. */
let runs: readonly RunOptions[];
try {
  runs = readArguments(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof ArgumentError)) throw error;
  console.error(error.message);
  process.exit(2);
}
// All child processes end with this process.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

const program = await locate("redis");
if (program === null) {
  console.error(adviceFor("redis"));
  process.exit(1);
}
console.log(`seed ${runs[0]!.seed}`);
for (const options of runs) {
  const report = await run(program, options, (text) => console.error(text));
  console.log(formatReport(report));
  if (report.violations.length > 0) process.exitCode = 1;
}
// Leftovers of a failed run must not keep the process alive.
process.exit();
