import type { Clock } from "../clock.js";
import type { Acknowledged } from "./history-scripts.js";

/** The events that this process has published on one channel. */
export interface PublishedChannel {
  /** The number of the last event, also if that event failed. */
  sequence: number;
  /** Settles with the call that publishes the last event; `null` if that call has settled. */
  underWay: Promise<unknown> | null;
  /** The last event that was acknowledged. */
  acknowledged: Acknowledged | null;
  /** When it was acknowledged, by the wall clock. The monotonic clock stops while the host is suspended. */
  acknowledgedAt: number;
}

/** Minimum number of remembered channels. The maximum is twice as many, plus the channels that wait for an answer. */
const REMEMBERED = 10_000;
/** Logs forget a producer after ten minutes. */
const REMEMBERED_MS = 300_000;

/**
 * Numbers the events of this process, and remembers the events that Redis acknowledged. The events of one channel have consecutive
 * numbers, so the publish script can detect a missing event without another argument.
 */
export class PublishedChannels {
  readonly #clock: Clock;
  /** The highest number on any channel. A channel that was forgotten continues after it, so that its numbers still increase. */
  #highest = 0;
  /**
   * The recently used channels. When this map is full, it becomes `#older`. The previous `#older` is forgotten, except the channels that
   * wait for an answer.
   */
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
