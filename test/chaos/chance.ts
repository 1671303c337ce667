import { createRandom } from "../support/random.js";

/** Draws from one seed. Who draws in a stream of their own is not disturbed by how often others do. */
export class Chance {
  readonly #random: () => number;

  constructor(seed: number, stream: number) {
    // Seeds that are close to each other would otherwise share streams with one another.
    this.#random = createRandom((seed ^ Math.imul(stream + 1, 0x9e3779b1)) >>> 0);
  }

  /** From 0 to 1. */
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

  /** One of the names, as often as its weight says. */
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
