import { parseArgs } from "node:util";

const TOPOLOGIES = ["single", "cluster", "sentinel"] as const;

/** Topology of the Redis servers. */
export type Topology = (typeof TOPOLOGIES)[number];

export type SubscriptionMode = "shared" | "dedicated";

/**
 * Goal of a run. Chaos looks for lost events, with several apps that are replaced. Soak looks for leaks in one app
 * that lives through the run. Clients connect to it without a proxy.
 */
export type Harness = "chaos" | "soak";

export interface RunOptions {
  readonly harness: Harness;
  readonly topology: Topology;
  /** Subscription mode of the apps. In chaos, all apps except one are "shared". */
  readonly mode: SubscriptionMode | "mixed";
  /** Duration of the faults. */
  readonly seconds: number;
  readonly clients: number;
  readonly publishers: number;
  /** Seed of the plan: the faults and their times, the channels, and the visits of the clients. */
  readonly seed: number;
}

const USAGE: Readonly<Record<Harness, string>> = {
  chaos: `usage: npm run chaos -- [--topology single|cluster|sentinel] [--seconds 60] [--clients 300] [--publishers 20] [--seed <number>]
  --topology    one Redis, a Cluster, or a master that Sentinels watch (default single)
  --seconds     how long faults are done, at least 3 (default 60)
  --clients     how many clients there are, 5 to 2000 (default 300)
  --publishers  how many publishers there are, 4 to 100 (default 20)
  --seed        a whole number; the same seed plans the same faults (default: a random one)`,
  soak: `usage: npm run soak -- [--seconds 60] [--seed <number>] [--mode shared|dedicated|both] [--clients 500]
  --seconds   how long each mode is kept under faults, at least 3 (default 60)
  --seed      a whole number; the same seed plans the same faults (default: a random one)
  --mode      how streams reach Redis (default both, one after the other)
  --clients   how many clients there are at a time, 10 to 5000 (default 500)`,
};

const OPTIONS: Readonly<Record<Harness, readonly string[]>> = {
  chaos: ["topology", "seconds", "clients", "publishers", "seed"],
  soak: ["seconds", "seed", "mode", "clients"],
};

const SOAK_PUBLISHERS = 6;

/** An invalid argument. The message names it and says how to correct it. */
export class ArgumentError extends Error {}

/**
 * Returns the requested runs. The first argument can be `soak` or `chaos` (default), before the options. Throws
 * `ArgumentError`.
 */
export function readArguments(args: readonly string[]): readonly RunOptions[] {
  const [first] = args;
  const harness = first === "soak" ? "soak" : "chaos";
  try {
    return readRuns(harness, first === harness ? args.slice(1) : args);
  } catch (error) {
    throw new ArgumentError(`${(error as Error).message}\n\n${USAGE[harness]}`);
  }
}

function readRuns(harness: Harness, args: readonly string[]): readonly RunOptions[] {
  const options = Object.fromEntries(OPTIONS[harness].map((name) => [name, { type: "string" }] as const));
  const values = parseArgs({ args: [...args], options }).values as Readonly<Record<string, string>>;
  const number = (name: string, otherwise: number, least: number, most: number): number =>
    readNumber(`--${name}`, values[name] ?? String(otherwise), least, most);
  const seed = number("seed", Math.floor(Math.random() * 1_000_000), 0, 2 ** 32 - 1);
  const seconds = number("seconds", 60, 3, 86_400);
  if (harness === "soak") {
    const modes = ["shared", "dedicated"] as const;
    const mode = readOneOf("--mode", values["mode"] ?? "both", [...modes, "both"]);
    const clients = number("clients", 500, 10, 5_000);
    const common = {
      harness,
      topology: "single",
      seconds,
      clients,
      publishers: SOAK_PUBLISHERS,
      seed,
    } as const;
    return modes
      .filter((each) => mode === each || mode === "both")
      .map((each) => ({ ...common, mode: each }));
  }
  const topology = readOneOf("--topology", values["topology"] ?? "single", TOPOLOGIES);
  const clients = number("clients", 300, 5, 2_000);
  return [
    {
      harness,
      topology,
      mode: "mixed",
      seconds,
      clients,
      publishers: number("publishers", 20, 4, 100),
      seed,
    },
  ];
}

function readOneOf<Name extends string>(option: string, given: string, names: readonly Name[]): Name {
  const name = names.find((each) => each === given);
  if (name !== undefined) return name;
  throw new Error(`expected ${option} as one of ${names.join(", ")}, got "${given}"`);
}

function readNumber(option: string, given: string, least: number, most: number): number {
  const value = Number(given);
  if (/^\d+$/.test(given) && value >= least && value <= most) return value;
  throw new Error(`expected ${option} as a whole number from ${least} to ${most}, got "${given}"`);
}
