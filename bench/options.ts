import { parseArgs } from "node:util";

import { queueTargets } from "./queues/catalog.js";
import { targets } from "./targets/catalog.js";
import { scenarioNames, type ScenarioName } from "./scenarios/names.js";

export interface Options {
  /** What was asked for, as it was written. */
  readonly command: string;
  /** Small numbers: to see that all works, not to quote. */
  readonly quick: boolean;
  readonly only: readonly ScenarioName[];
  /** Neither scenarios nor targets were chosen, and no base: the run has everything, and nothing else. */
  readonly complete: boolean;
  /** Names of targets; null: those of the plan. */
  readonly targets: readonly string[] | null;
  /** Another checkout, whose build is measured beside this one's. */
  readonly base: string | null;
  readonly rounds: number;
  /** Where the figures go, as JSON. */
  readonly json: string | null;
}

const known: readonly string[] = [...new Set([...targets, ...queueTargets].map(({ name }) => name))];

export const USAGE: string = `npm run bench -- [options]

  --quick            small numbers, in under two minutes: to see that all works, not to quote
  --only a,b         of ${scenarioNames.join(", ")}
  --targets a,b      of ${known.join(", ")}
  --base checkout    compares with the build of that checkout, too
  --rounds n         of each scenario; default 3, quick 1
  --json file        the figures as JSON
  --help             this
`;

/** Throws an error for people, for anything that is not in the usage. */
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
  if (unknown !== undefined) throw new Error(`expected ${option} of ${known.join(", ")}, got ${unknown}`);
  return known.filter((name) => names.includes(name));
}

function readRounds(given: string): number {
  if (/^[1-9]\d?$/.test(given)) return Number(given);
  throw new Error(`expected --rounds as a number from 1 to 99, got ${given}`);
}

/** As the report repeats it, without the file that was written: where that is says nothing of the figures. */
function commandOf(args: readonly string[], json: string | undefined): string {
  const told = args.filter((arg) => !arg.startsWith("--json") && arg !== json);
  return ["npm run bench", ...(told.length > 0 ? ["--", ...told] : [])].join(" ");
}
