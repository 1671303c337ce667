import { monotonicNow, type Clock } from "../clock.js";
import { RedisSseError } from "../errors.js";
import type { RevocationEntry, RevocationStore } from "./revocation-store.js";

export interface RevocationReaderOptions {
  readonly store: RevocationStore;
  readonly clock: Clock;
  /**
   * Gets new entries, oldest first. `now` is the Redis time when the script ran. `answeredAt` is when its reply arrived
   * (`monotonicNow()`).
   */
  readonly onEntries: (entries: readonly RevocationEntry[], now: number, answeredAt: number) => void;
  /** All entries that were stored at `askedAt` (`monotonicNow()`) have been read. */
  readonly onComplete: (askedAt: number) => void;
  /** Redis has lost the last known entry, or has deleted it. All entries are read again, and later ones may have smaller ids. */
  readonly onLost: () => void;
  /** Returns the milliseconds before the read is repeated; `null`: it is not repeated. */
  readonly onFault: (fault: RedisSseError) => number | null;
}

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (fault: RedisSseError) => void;
}

/** Reads each stored revocation once, in order. At most one read runs at the same time. */
export class RevocationReader {
  readonly #options: RevocationReaderOptions;
  /** The calls that wait for a read that has not started yet. */
  #waiting: Waiting[] = [];
  #cancelRetry: () => void = () => {};
  /** The id of the last entry that was read. */
  #last: string | null = null;
  #isReading = false;
  #isDue = false;
  #isClosed = false;

  constructor(options: RevocationReaderOptions) {
    this.#options = options;
  }

  /** Reads all entries that are stored now. Rejects with a Redis error or `CLOSED`. */
  read(): Promise<void> {
    if (this.#isClosed) return Promise.reject(closed());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.wake();
    });
  }

  /** Reads all entries that are stored now. If Redis fails, reads them later. */
  wake(): void {
    this.#isDue = true;
    if (!this.#isReading) void this.#readWhileDue();
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelRetry();
    this.#rejectAll(closed());
  }

  /** Never rejects. */
  async #readWhileDue(): Promise<void> {
    this.#isReading = true;
    this.#cancelRetry();
    while (this.#isDue && !this.#isClosed) {
      this.#isDue = false;
      const waiting = this.#waiting.splice(0);
      try {
        await this.#readToEnd();
        for (const { resolve } of waiting) resolve();
      } catch (error) {
        const fault = error as RedisSseError;
        for (const { reject } of waiting) reject(fault);
        this.#failed(fault);
        break;
      }
    }
    this.#isReading = false;
  }

  /** Each read starts with the last known entry, to see whether Redis still has it. */
  async #readToEnd(): Promise<void> {
    const { store, clock, onEntries, onComplete, onLost } = this.#options;
    for (;;) {
      const askedAt = monotonicNow(clock);
      const { entries, now, isFull } = await store.read(this.#last);
      if (this.#isClosed) throw closed();
      if (this.#last !== null && entries[0]?.id !== this.#last) {
        this.#last = null;
        onLost();
        continue;
      }
      const isKnown = this.#last !== null;
      this.#last = entries.at(-1)?.id ?? null;
      onEntries(isKnown ? entries.slice(1) : entries, now, monotonicNow(clock));
      if (isFull) continue;
      onComplete(askedAt);
      return;
    }
  }

  #failed(fault: RedisSseError): void {
    this.#rejectAll(fault);
    if (this.#isClosed) return;
    const pauseMs = this.#options.onFault(fault);
    this.#isDue = pauseMs !== null;
    if (pauseMs !== null) this.#cancelRetry = this.#options.clock.schedule(() => this.wake(), pauseMs);
  }

  #rejectAll(fault: RedisSseError): void {
    for (const { reject } of this.#waiting.splice(0)) reject(fault);
  }
}

const closed = (): RedisSseError => new RedisSseError("CLOSED", "this service is closed");
