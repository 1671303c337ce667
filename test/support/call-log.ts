import { setTimeout as pause } from "node:timers/promises";

import { expect } from "chai";

import { RedisSseError } from "../../lib/index.js";
import { eventually, repeat } from "./eventually.js";

/** The outcome of one call. */
export interface Outcome {
  /** The error of a rejected call. `null` if the call resolved. */
  readonly code: string | null;
  readonly tookMs: number;
}

/** Codes with which a call may reject while Redis is unavailable or fails over. */
const PASSING: readonly (string | null)[] = [null, "REDIS_UNAVAILABLE", "TIMEOUT"];

export async function outcomeOf(call: () => Promise<unknown>): Promise<Outcome> {
  const startedAt = performance.now();
  let code: string | null = null;
  try {
    await call();
  } catch (error) {
    code = error instanceof RedisSseError ? error.code : `not one of ours: ${String(error)}`;
    if (code === "INTERNAL" || code === "REDIS_REFUSED") code += ` (${(error as Error).message})`;
  }
  return { code, tookMs: Math.round(performance.now() - startedAt) };
}

export function expectPassing(outcomes: readonly Outcome[], what: string): void {
  const others = outcomes.map(({ code }) => code).filter((code) => !PASSING.includes(code));
  expect([...new Set(others)], `codes of ${what}`).to.deep.equal([]);
}

/** Makes numbered calls one by one and records the outcome of each. */
export class CallLog {
  readonly #what: string;
  readonly #outcomes: Outcome[] = [];
  readonly #loop: { stop(): Promise<void> };

  constructor(what: string, call: (number: number) => Promise<unknown>) {
    this.#what = what;
    this.#loop = repeat(async () => {
      const number = this.#outcomes.length;
      this.#outcomes.push(await outcomeOf(() => call(number)));
      await pause(10); // a steady load, not a flood
    });
  }

  /** Numbers of the resolved calls. */
  get resolved(): readonly number[] {
    return this.#outcomes.flatMap(({ code }, number) => (code === null ? [number] : []));
  }

  /** Resolves when this many more calls have resolved. */
  async more(count: number, timeoutMs = 15_000): Promise<void> {
    const before = this.resolved.length;
    await eventually(() => {
      const last = JSON.stringify(this.#outcomes.slice(-3));
      expect(this.resolved.length - before, `${this.#what} after the last ${last}`).to.be.at.least(count);
    }, timeoutMs);
  }

  /** Ends the load. Each call must have resolved, or rejected with an expected code, within 6 s. */
  async stop(): Promise<void> {
    await this.#loop.stop();
    expectPassing(this.#outcomes, this.#what);
    const longest = Math.max(...this.#outcomes.map(({ tookMs }) => tookMs));
    expect(longest, `the longest call of ${this.#what}, in ms`).to.be.at.most(6_000);
  }
}
