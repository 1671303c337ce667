import { parseArgs } from "node:util";

const TOPOLOGIES = ["single", "cluster", "sentinel"] as const;

/** What the servers form. */
export type Topology = (typeof TOPOLOGIES)[number];

export interface ChaosOptions {
  readonly topology: Topology;
  /** How long faults are done. */
  readonly seconds: number;
  readonly clients: number;
  readonly publishers: number;
  /** What is planned follows from it: the faults and their times, the channels, who leaves when. */
  readonly seed: number;
}

export const USAGE = `usage: npm run chaos -- [--topology single|cluster|sentinel] [--seconds 60] [--clients 300] [--publishers 20] [--seed <number>]
  --topology    one Redis, a Cluster, or a master that Sentinels watch (default single)
  --seconds     how long faults are done, at least 3 (default 60)
  --clients     how many clients there are, 5 to 2000 (default 300)
  --publishers  how many publishers there are, 4 to 100 (default 20)
  --seed        a whole number; the same seed plans the same faults (default: a random one)`;

/** An argument that cannot be used; the message names it. */
export class ArgumentError extends Error {}

/** Throws `ArgumentError`. */
export function readArguments(args: readonly string[]): ChaosOptions {
  const { topology, seconds, clients, publishers, seed } = parse(args);
  return {
    topology: readTopology(topology ?? "single"),
    seconds: readNumber("--seconds", seconds ?? "60", 3, 86_400),
    clients: readNumber("--clients", clients ?? "300", 5, 2_000),
    publishers: readNumber("--publishers", publishers ?? "20", 4, 100),
    seed: readNumber("--seed", seed ?? String(Math.floor(Math.random() * 1_000_000)), 0, 2 ** 32 - 1),
  };
}

function parse(args: readonly string[]): Readonly<Record<string, string | undefined>> {
  const text = { type: "string" } as const;
  try {
    const options = { topology: text, seconds: text, clients: text, publishers: text, seed: text };
    return { ...parseArgs({ args: [...args], options }).values };
  } catch (error) {
    throw new ArgumentError((error as Error).message);
  }
}

function readTopology(given: string): Topology {
  const topology = TOPOLOGIES.find((each) => each === given);
  if (topology !== undefined) return topology;
  throw new ArgumentError(`expected --topology as one of ${TOPOLOGIES.join(", ")}, got "${given}"`);
}

function readNumber(name: string, given: string, least: number, most: number): number {
  const value = Number(given);
  if (/^\d+$/.test(given) && value >= least && value <= most) return value;
  throw new ArgumentError(`expected ${name} as a whole number from ${least} to ${most}, got "${given}"`);
}
