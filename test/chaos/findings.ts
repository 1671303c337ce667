/** Number of examples kept per rule. All violations are counted. */
const MAX_EXAMPLES = 5;

export interface Violation {
  readonly rule: string;
  readonly count: number;
  /** In the order of their discovery. */
  readonly examples: readonly string[];
}

/** The violated rules, in the order of their first violation. */
export class Findings {
  readonly #found = new Map<string, { count: number; examples: string[] }>();
  readonly #startedAt = Date.now();
  readonly #tell: (text: string) => void;

  /** The first violation of each rule is printed at once, before the report. */
  constructor(tell: (text: string) => void = () => {}) {
    this.#tell = tell;
  }

  add(rule: string, example: string): void {
    let found = this.#found.get(rule);
    if (found === undefined) this.#found.set(rule, (found = { count: 0, examples: [] }));
    found.count++;
    const seconds = ((Date.now() - this.#startedAt) / 1_000).toFixed(2);
    if (found.examples.length < MAX_EXAMPLES) found.examples.push(`at ${seconds} s: ${example}`);
    if (found.count === 1) this.#tell(`did not hold: ${rule}: ${found.examples[0]}`);
  }

  /** Runs a check. An error counts as a violation, and the run continues. */
  async check(rule: string, check: () => Promise<unknown>): Promise<void> {
    try {
      await check();
    } catch (error) {
      this.add(rule, (error as Error).message);
    }
  }

  get all(): readonly Violation[] {
    return Array.from(this.#found, ([rule, found]) => ({ rule, ...found }));
  }
}
