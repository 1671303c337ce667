/** With more streams than this, the budget frees more than necessary. Otherwise, each event would visit all streams. */
const MANY = 1_000;
const ENOUGH = 7 / 8;

/** A stream with buffered events. */
export interface Waiting {
  /** Frees the buffer by the policy of the stream: drops events, or ends the stream. */
  relieve(): void;
}

/**
 * Limits the buffered bytes of all clients of a service together. If the limit is exceeded, the streams with the largest
 * buffers free memory first. So a stalled client does not affect clients that keep up. Streams share their events, but each
 * stream counts them. The real memory use is therefore lower.
 */
export class BufferBudget {
  readonly #maxBytes: number;
  readonly #held = new Map<Waiting, number>();
  /** Streams that freed nothing. They are asked again only after they report a new size. */
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

  /** How often a stream was asked to free its buffer. */
  get exceeded(): number {
    return this.#exceeded;
  }

  /** Number of events that were dropped because their clients were too slow. */
  get dropped(): number {
    return this.#dropped;
  }

  countDropped(): void {
    this.#dropped++;
  }

  /** Sets the buffered bytes of `stream`. 0 removes the stream. */
  note(stream: Waiting, bytes: number): void {
    this.#set(stream, bytes);
    // A stream that frees memory reports its new size through this method.
    if (this.#bytes <= this.#maxBytes || this.#isRelieving) return;
    this.#isRelieving = true;
    try {
      this.#relieve();
    } finally {
      this.#isRelieving = false;
    }
  }

  /**
   * Asks the largest stream first, and each stream once. A stream that frees nothing may not drop its events, or is about
   * to end. It is asked again only after it reports a new size. Otherwise, each event would visit all such streams again.
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
