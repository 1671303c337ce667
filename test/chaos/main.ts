import { adviceFor, locate } from "../support/prerequisites.js";
import { ArgumentError, readArguments, type RunOptions } from "./options.js";
import { formatReport } from "./report.js";
import { run } from "./run.js";

/** Exit codes: 0 when every rule held, 1 when one did not, 2 for arguments that cannot be used. */
let runs: readonly RunOptions[];
try {
  runs = readArguments(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof ArgumentError)) throw error;
  console.error(error.message);
  process.exit(2);
}
// The processes that were started end with this one, whatever ends it.
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
// Whatever a failed run has left must not keep it from ending.
process.exit();
