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
  #bytes = 0;
  #exceeded = 0;
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

  /** None is asked twice: what it keeps then it may not give up, or its end is on the way. */
  #relieve(): void {
    const asked = new Set<Waiting>();
    while (this.#bytes > this.#maxBytes) {
      const largest = this.#largest(asked);
      if (largest === undefined) return;
      asked.add(largest);
      this.#exceeded++;
      largest.relieve();
    }
  }

  #set(stream: Waiting, bytes: number): void {
    this.#bytes += bytes - (this.#held.get(stream) ?? 0);
    if (bytes === 0) this.#held.delete(stream);
    else this.#held.set(stream, bytes);
  }

  #largest(except: ReadonlySet<Waiting>): Waiting | undefined {
    let largest: Waiting | undefined;
    let most = 0;
    for (const [stream, bytes] of this.#held) {
      if (bytes <= most || except.has(stream)) continue;
      largest = stream;
      most = bytes;
    }
    return largest;
  }
}
