import type { Clock } from "../clock.js";
import type { Acknowledged } from "./history-scripts.js";

/** What this process has published on one channel. */
export interface PublishedChannel {
  /** The number of the last event, also if that event failed. */
  sequence: number;
  /** Settles with the last event; `null` if Redis has answered. */
  underWay: Promise<unknown> | null;
  /** The last event that was acknowledged. */
  acknowledged: Acknowledged | null;
  /** When it was acknowledged. By the wall clock, because the monotonic one stands still while the host is suspended. */
  acknowledgedAt: number;
}

/** At least this number of channels is remembered, at most twice as many and those that wait for an answer. */
const REMEMBERED = 10_000;
/** Logs forget a producer after ten minutes. */
const REMEMBERED_MS = 300_000;

/**
 * Numbers the events of this process, and remembers what Redis must have of them. The events of one channel have consecutive
 * numbers, so that the script that publishes sees without another argument if one is missing.
 */
export class PublishedChannels {
  readonly #clock: Clock;
  /** No event of any channel has a higher number. So a channel that was forgotten goes on with a higher number than before. */
  #highest = 0;
  /** What was used is in `#recent`. When that is full, it becomes `#older`, and the rest of that is forgotten. */
  #recent = new Map<string, PublishedChannel>();
  #older = new Map<string, PublishedChannel>();
  #capacity = REMEMBERED;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  of(channel: string): PublishedChannel {
    const recent = this.#recent.get(channel);
    if (recent !== undefined) return recent;
    const known = this.#older.get(channel) ?? {
      sequence: this.#highest,
      underWay: null,
      acknowledged: null,
      acknowledgedAt: 0,
    };
    if (this.#recent.size >= this.#capacity) this.#forget();
    this.#recent.set(channel, known);
    return known;
  }

  /** Returns the number of the channel's next event. */
  next(published: PublishedChannel): number {
    const sequence = ++published.sequence;
    if (sequence > this.#highest) this.#highest = sequence;
    return sequence;
  }

  acknowledge(published: PublishedChannel, acknowledged: Acknowledged): void {
    // On a cluster that moves a slot, a later event may have been answered first.
    if (acknowledged.sequence < (published.acknowledged?.sequence ?? 0)) return;
    published.acknowledged = acknowledged;
    published.acknowledgedAt = this.#clock.now();
  }

  /** The last acknowledged event, if the log must still know it. */
  acknowledged(published: PublishedChannel): Acknowledged | null {
    const { acknowledged, acknowledgedAt } = published;
    if (acknowledged === null) return null;
    return Math.abs(this.#clock.now() - acknowledgedAt) <= REMEMBERED_MS ? acknowledged : null;
  }

  #forget(): void {
    const waiting = [...this.#older].filter(([, { underWay }]) => underWay !== null);
    this.#older = this.#recent;
    this.#recent = new Map(waiting);
    this.#capacity = REMEMBERED + waiting.length;
  }
}
