/**
 * What was published: the numbers of each channel, from 1 upwards. Only a number that the server has
 * acknowledged was certainly published; one whose answer was lost may or may not have been.
 */
export class Ledger {
  readonly #acknowledged = new Map<string, boolean[]>();

  /** Takes the next number of a channel. */
  issue(channel: string): number {
    const numbers = this.#numbersOf(channel);
    numbers.push(false);
    return numbers.length;
  }

  acknowledge(channel: string, number: number): void {
    this.#numbersOf(channel)[number - 1] = true;
  }

  /** The last number that was taken; 0 when there was none. */
  issued(channel: string): number {
    return this.#numbersOf(channel).length;
  }

  /** The first number from `from` to `to`, both included, that was certainly published. */
  firstCertain(channel: string, from: number, to: number): number | null {
    const numbers = this.#numbersOf(channel);
    for (let number = from; number <= to; number++) if (numbers[number - 1]) return number;
    return null;
  }

  get published(): number {
    let count = 0;
    for (const numbers of this.#acknowledged.values()) count += numbers.filter(Boolean).length;
    return count;
  }

  #numbersOf(channel: string): boolean[] {
    let numbers = this.#acknowledged.get(channel);
    if (numbers === undefined) this.#acknowledged.set(channel, (numbers = []));
    return numbers;
  }
}

/** What is published: the channel and the number, and whatever makes it long. */
export function encodeNumber(channel: string, number: number, paddingBytes: number): string {
  const text = `${channel} ${number}`;
  return paddingBytes === 0 ? text : `${text} ${"x".repeat(paddingBytes)}`;
}

export function decodeNumber(data: string): { channel: string; number: number } | null {
  const [, channel, number] = /^(\S+) (\d+)(?: x+)?$/.exec(data) ?? [];
  return channel === undefined ? null : { channel, number: Number(number) };
}
