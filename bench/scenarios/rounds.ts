import { VoidRun } from "../harness/load.js";

/** What became of one target in one scenario: a figure for each round, or why the round counts for nothing. */
export interface Rounds<Figures> {
  readonly figures: Figures[];
  readonly voids: string[];
}

/**
 * Runs every entry once in each round, and only then the next round: what else the machine does meanwhile meets
 * them all alike.
 */
export async function alternate<Entry extends { readonly name: string }, Figures>(
  entries: readonly Entry[],
  rounds: number,
  measure: (entry: Entry) => Promise<Figures>,
  tell: (line: string) => void,
): Promise<Map<Entry, Rounds<Figures>>> {
  const results = new Map<Entry, Rounds<Figures>>();
  for (const entry of entries) results.set(entry, { figures: [], voids: [] });
  for (let round = 1; round <= rounds; round++) {
    for (const entry of entries) {
      const { figures, voids } = results.get(entry)!;
      try {
        figures.push(await measure(entry));
        tell(`${entry.name}, round ${round} of ${rounds}`);
      } catch (error) {
        // Whatever else fails is a fault of the benchmark, and ends it.
        if (!(error instanceof VoidRun)) throw error;
        voids.push(error.message);
        tell(`${entry.name}, round ${round} of ${rounds}: void (${error.message})`);
      }
    }
  }
  return results;
}
