import { createRandom } from "../support/random.js";

/** Random numbers from one seed. A separate stream of numbers does not depend on how often other streams are used. */
export class Chance {
  readonly #random: () => number;

  constructor(seed: number, stream: number) {
    // Otherwise, similar seeds would share streams.
    this.#random = createRandom((seed ^ Math.imul(stream + 1, 0x9e3779b1)) >>> 0);
  }

  /** A number from 0 to 1. */
  part(): number {
    return this.#random();
  }

  between(least: number, most: number): number {
    return least + this.#random() * (most - least);
  }

  whole(least: number, most: number): number {
    return Math.floor(this.between(least, most + 1));
  }

  is(probability: number): boolean {
    return this.#random() < probability;
  }

  oneOf<T>(values: readonly T[]): T {
    return values[Math.floor(this.#random() * values.length)]!;
  }

  /** Returns one of the names, with a probability by weight. */
  weighted<Name extends string>(weights: Readonly<Record<Name, number>>): Name {
    const entries = Object.entries<number>(weights) as [Name, number][];
    let rest = this.#random() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [name, weight] of entries) {
      rest -= weight;
      if (rest < 0) return name;
    }
    return entries[0]![0];
  }
}
