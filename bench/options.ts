import { parseArgs } from "node:util";

import { queueTargets } from "./queues/catalog.js";
import { targets } from "./targets/catalog.js";
import { scenarioNames, type ScenarioName } from "./scenarios/names.js";

export interface Options {
  /** The command line, for the report. */
  readonly command: string;
  /** Uses small numbers, to check that the benchmark works. Do not quote the figures. */
  readonly quick: boolean;
  readonly only: readonly ScenarioName[];
  /** True if the run has all scenarios and targets, and no base. */
  readonly complete: boolean;
  /** Names of targets. `null` means the targets of the plan. */
  readonly targets: readonly string[] | null;
  /** Another checkout. Its build is measured too. */
  readonly base: string | null;
  readonly rounds: number;
  /** File for the figures, as JSON. */
  readonly json: string | null;
}

const known: readonly string[] = [...new Set([...targets, ...queueTargets].map(({ name }) => name))];

export const USAGE: string = `npm run bench -- [options]

  --quick            run with small numbers in under two minutes (do not quote the figures)
  --only a,b         run only these scenarios: ${scenarioNames.join(", ")}
  --targets a,b      run only these targets: ${known.join(", ")}
  --base checkout    also measure the build of this checkout
  --rounds n         rounds per scenario (default 3, with --quick 1)
  --json file        write the figures as JSON to this file
  --help             show this help
`;

/** Throws an error with a readable message if an option is invalid. */
export function readOptions(args: readonly string[]): Options | "help" {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      targets: { type: "string" },
      base: { type: "string" },
      rounds: { type: "string" },
      json: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return "help";
  return {
    command: commandOf(args, values.json),
    quick: values.quick,
    only: readNames("--only", values.only, scenarioNames) as readonly ScenarioName[],
    targets: values.targets === undefined ? null : readNames("--targets", values.targets, known),
    complete: values.only === undefined && values.targets === undefined && values.base === undefined,
    base: values.base ?? null,
    rounds: readRounds(values.rounds ?? (values.quick ? "1" : "3")),
    json: values.json ?? null,
  };
}

function readNames(option: string, given: string | undefined, known: readonly string[]): readonly string[] {
  if (given === undefined) return known;
  const names = given.split(",");
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined)
    throw new Error(`Invalid ${option} "${unknown}". Use one or more of ${known.join(", ")}.`);
  return known.filter((name) => names.includes(name));
}

function readRounds(given: string): number {
  if (/^[1-9]\d?$/.test(given)) return Number(given);
  throw new Error(`Invalid --rounds "${given}". Use a whole number from 1 to 99.`);
}

/** Returns the command for the report, without the JSON file, because its path does not affect the figures. */
function commandOf(args: readonly string[], json: string | undefined): string {
  const shown = args.filter((arg) => !arg.startsWith("--json") && arg !== json);
  return ["npm run bench", ...(shown.length > 0 ? ["--", ...shown] : [])].join(" ");
}
