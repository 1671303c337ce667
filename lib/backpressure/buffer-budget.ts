/** With so many streams waiting more is freed than has to be: not every event is to have all of them looked at. */
const MANY = 1_000;
const ENOUGH = 7 / 8;

/** A stream with events that wait for its client. */
export interface Waiting {
  /** Gives up what waits, by the stream's own policy: it drops, or ends. */
  relieve(): void;
}

/**
 * What may wait for all clients of a service together. When it is exceeded, the stream for which most waits gives way:
 * one that stalls does not take from those that keep up. Events are shared between streams, and counted for each, so
 * that the memory is less than this says.
 */
export class BufferBudget {
  readonly #maxBytes: number;
  readonly #held = new Map<Waiting, number>();
  /** Those that were asked and gave nothing up: they are not asked again before more or less waits for them. */
  readonly #kept = new Map<Waiting, number>();
  #bytes = 0;
  #exceeded = 0;
  #dropped = 0;
  #isRelieving = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** How often a stream had to give way. */
  get exceeded(): number {
    return this.#exceeded;
  }

  /** How many events were dropped, since their clients did not read in time. */
  get dropped(): number {
    return this.#dropped;
  }

  countDropped(): void {
    this.#dropped++;
  }

  /** So much waits for `stream` now; 0 forgets it. */
  note(stream: Waiting, bytes: number): void {
    this.#set(stream, bytes);
    // A stream that gives way tells at once what is left.
    if (this.#bytes <= this.#maxBytes || this.#isRelieving) return;
    this.#isRelieving = true;
    try {
      this.#relieve();
    } finally {
      this.#isRelieving = false;
    }
  }

  /**
   * The largest first, and none twice: what it keeps then it may not give up, or its end is on the way. One that gave
   * nothing is looked at again when it tells something: however many there are, an event more does not ask them all.
   */
  #relieve(): void {
    const largestFirst = [...this.#held].toSorted(([, one], [, other]) => other - one);
    const enough = this.#maxBytes * (largestFirst.length > MANY ? ENOUGH : 1);
    for (const [stream] of largestFirst) {
      if (this.#bytes <= enough) return;
      const before = this.#held.get(stream);
      if (before === undefined) continue;
      this.#exceeded++;
      stream.relieve();
      const left = this.#held.get(stream);
      if (left === undefined || left < before) continue;
      this.#held.delete(stream);
      this.#kept.set(stream, left);
    }
  }

  #set(stream: Waiting, bytes: number): void {
    this.#bytes += bytes - (this.#held.get(stream) ?? this.#kept.get(stream) ?? 0);
    this.#kept.delete(stream);
    if (bytes === 0) this.#held.delete(stream);
    else this.#held.set(stream, bytes);
  }
}
