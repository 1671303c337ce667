import { parseArgs } from "node:util";

export type SubscriptionMode = "shared" | "dedicated";

/**
 * Whether the app keeps a history. What the soak publishes are plain messages, which are in no log; so where a
 * connection is lost and comes back, a gap is told of every channel only if there is none. A dedicated stream ends
 * with its connection: there the log is asked for, under all faults, whenever one begins.
 */
export function keepsHistory(mode: SubscriptionMode): boolean {
  return mode === "dedicated";
}

export interface SoakOptions {
  readonly mode: SubscriptionMode;
  readonly seconds: number;
  /** Everything that is random follows from it. */
  readonly seed: number;
  /** How many clients there are at a time; each opens one stream after another. */
  readonly clients: number;
}

export const USAGE = `usage: npm run soak -- [--seconds 60] [--seed <number>] [--mode shared|dedicated|both] [--clients 500]
  --seconds   how long each mode is kept under faults, at least 3 (default 60)
  --seed      a whole number; the same seed makes the same faults in the same order (default: a random one)
  --mode      how streams reach Redis (default both, one after the other)
  --clients   how many clients there are at a time, 10 to 5000 (default 500)`;

/** An argument that cannot be used; the message names it. */
export class ArgumentError extends Error {}

/** One run for each mode that was asked for. Throws `ArgumentError`. */
export function readArguments(args: readonly string[]): readonly SoakOptions[] {
  const { seconds, seed, mode, clients } = parse(args);
  const common = {
    seconds: readNumber("--seconds", seconds ?? "60", 3, 86_400),
    seed: readNumber("--seed", seed ?? randomSeed(), 0, 2 ** 32 - 1),
    clients: readNumber("--clients", clients ?? "500", 10, 5_000),
  };
  return readModes(mode ?? "both").map((mode) => ({ mode, ...common }));
}

function parse(args: readonly string[]): Readonly<Record<string, string | undefined>> {
  const text = { type: "string" } as const;
  try {
    const options = { seconds: text, seed: text, mode: text, clients: text };
    return { ...parseArgs({ args: [...args], options }).values };
  } catch (error) {
    throw new ArgumentError((error as Error).message);
  }
}

function readNumber(name: string, given: string, least: number, most: number): number {
  const value = Number(given);
  if (/^\d+$/.test(given) && value >= least && value <= most) return value;
  throw new ArgumentError(`expected ${name} as a whole number from ${least} to ${most}, got "${given}"`);
}

function readModes(given: string): readonly SubscriptionMode[] {
  if (given === "both") return ["shared", "dedicated"];
  if (given === "shared" || given === "dedicated") return [given];
  throw new ArgumentError(`expected --mode as shared, dedicated or both, got "${given}"`);
}

function randomSeed(): string {
  return String(Math.floor(Math.random() * 1_000_000));
}
