import { VoidRun } from "../harness/load.js";
import { spreadOf, type Spread } from "../report/statistics.js";

/** What became of one entry of an experiment. */
export interface Row {
  readonly name: string;
  readonly label: string;
  /** Of each figure the median, least and most of all rounds that count; null when none does. */
  readonly figures: Readonly<Record<string, Spread>> | null;
  readonly rounds: readonly Readonly<Record<string, number>>[];
  /** Why rounds count for nothing. */
  readonly voids: readonly string[];
}

export interface Entry {
  readonly name: string;
  readonly label?: string;
}

/** Several servers, or several ways, measured alike: one table of the report. */
export interface Experiment {
  readonly key: string;
  run(rounds: number, tell: (line: string) => void): Promise<readonly Row[]>;
}

/**
 * Measures every entry once in each round, and only then begins the next round: what else the machine does
 * meanwhile meets them all alike. Every other round runs backwards: who is first has no lasting part in the figures.
 */
export function experiment<Of extends Entry>(
  key: string,
  entries: readonly Of[],
  measure: (entry: Of) => Promise<object>,
): Experiment {
  return {
    key,
    async run(rounds, tell) {
      const kept = entries.map((entry) => ({
        entry,
        rounds: [] as Record<string, number>[],
        voids: [] as string[],
      }));
      for (let round = 1; round <= rounds; round++) {
        for (const { entry, ...results } of round % 2 === 1 ? kept : kept.toReversed()) {
          const outcome = await attempt(() => measure(entry));
          if (typeof outcome === "string") results.voids.push(outcome);
          else results.rounds.push(outcome);
          tell(
            `${key}, round ${round} of ${rounds}: ${entry.name}${typeof outcome === "string" ? `: void: ${outcome}` : ""}`,
          );
        }
      }
      return kept.map(({ entry, rounds, voids }) => ({
        name: entry.name,
        label: entry.label ?? entry.name,
        figures: spreadsOf(rounds),
        rounds,
        voids,
      }));
    },
  };
}

/** The figures, or why they count for nothing. Whatever else fails is a fault of the benchmark, and ends it. */
async function attempt(measure: () => Promise<object>): Promise<Record<string, number> | string> {
  try {
    return (await measure()) as Record<string, number>;
  } catch (error) {
    if (error instanceof VoidRun) return error.message;
    throw error;
  }
}

function spreadsOf(rounds: readonly Record<string, number>[]): Record<string, Spread> | null {
  const [first] = rounds;
  if (first === undefined) return null;
  return Object.fromEntries(
    Object.keys(first).map((figure) => [figure, spreadOf(rounds.map((round) => round[figure]!))]),
  );
}
