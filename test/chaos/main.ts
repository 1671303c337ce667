import { adviceFor, locate } from "../support/prerequisites.js";
import { runChaos } from "./chaos.js";
import { ArgumentError, readArguments, USAGE, type ChaosOptions } from "./options.js";
import { formatReport } from "./report.js";

/** Exit codes: 0 when every event came once and in order, 1 when not, 2 for arguments that cannot be used. */
let options: ChaosOptions;
try {
  options = readArguments(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof ArgumentError)) throw error;
  console.error(`${error.message}\n\n${USAGE}`);
  process.exit(2);
}
// The processes that were started end with this one, whatever ends it.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

const program = await locate("redis");
if (program === null) {
  console.error(adviceFor("redis"));
  process.exit(1);
}
console.log(`seed ${options.seed}`);
const report = await runChaos(program, options);
console.log(formatReport(report));
process.exit(report.violations.length === 0 ? 0 : 1);
