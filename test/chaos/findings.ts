/** Of each rule so many examples are kept; all are counted. */
const MAX_EXAMPLES = 3;

export interface Violation {
  readonly rule: string;
  readonly count: number;
  /** In the order in which they were found; the first has all its context. */
  readonly examples: readonly string[];
}

/** The rules that did not hold, the first that was found first. */
export class Findings {
  readonly #found = new Map<string, { count: number; examples: string[] }>();
  readonly #startedAt = Date.now();

  add(rule: string, example: string): void {
    let found = this.#found.get(rule);
    if (found === undefined) this.#found.set(rule, (found = { count: 0, examples: [] }));
    found.count++;
    const seconds = ((Date.now() - this.#startedAt) / 1_000).toFixed(2);
    if (found.examples.length < MAX_EXAMPLES) found.examples.push(`at ${seconds} s: ${example}`);
  }

  get all(): readonly Violation[] {
    return Array.from(this.#found, ([rule, found]) => ({ rule, ...found }));
  }
}
