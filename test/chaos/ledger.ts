import { parseEventId } from "../../lib/sse/event-id.js";
import { codeOf, nameOf } from "./payload.js";

/** One settled attempt to publish. Times are from `machineNow()`. */
export interface Settled {
  readonly channel: string;
  readonly publisher: number;
  readonly number: number;
  readonly issuedAt: number;
  readonly settledAt: number;
  /** The receipt of `publish()`. `undefined` if it rejected. */
  readonly id: string | null | undefined;
  /** Whether the event was sent at most once. */
  readonly isPlain?: boolean;
}

/** An event acknowledged by `publish()`. */
export interface Acknowledged {
  readonly issuedAt: number;
  readonly settledAt: number;
  /** Position in the history, if `publish()` returned one. */
  readonly offset: number | null;
}

interface Unsettled {
  readonly code: number;
  readonly issuedAt: number;
  readonly settledAt: number;
}

/** The events of one publisher on a channel. */
type Numbers = Map<number, Acknowledged>;

/**
 * All acknowledged events. All other events are uncertain: `publish()` rejected, or the process was killed before it
 * could report the receipt.
 */
export class Ledger {
  readonly #channels = new Map<string, Map<number, Numbers>>();
  readonly #epochs = new Map<string, Set<string>>();
  readonly #unsettled = new Map<string, Unsettled[]>();
  readonly #plain = new Set<number>();
  #acknowledged = 0;
  #uncertain = 0;

  get acknowledged(): number {
    return this.#acknowledged;
  }

  get uncertain(): number {
    return this.#uncertain;
  }

  settle({ channel, publisher, number, issuedAt, settledAt, id, isPlain = false }: Settled): void {
    if (isPlain) this.#plain.add(publisher);
    if (id === undefined) {
      this.#uncertain++;
      const unsettled = this.#unsettled.get(channel);
      const event = { code: codeOf({ publisher, number }), issuedAt, settledAt };
      if (unsettled === undefined) this.#unsettled.set(channel, [event]);
      else unsettled.push(event);
      return;
    }
    this.#acknowledged++;
    const [entry] = id === null ? [] : (parseEventId(id) ?? []);
    if (entry !== undefined) this.#epochsOf(channel).add(entry.epoch);
    this.numbers(channel, publisher).set(number, { issuedAt, settledAt, offset: entry?.offset ?? null });
  }

  /** Whether events of this publisher can arrive at most once over one connection. */
  sendsOnce(publisher: number): boolean {
    return this.#plain.has(publisher);
  }

  /** Rejected events. They can still arrive. */
  unsettled(channel: string): readonly Unsettled[] {
    return this.#unsettled.get(channel) ?? [];
  }

  publishers(channel: string): readonly number[] {
    return [...(this.#channels.get(channel)?.keys() ?? [])];
  }

  numbers(channel: string, publisher: number): Numbers {
    let publishers = this.#channels.get(channel);
    if (publishers === undefined) this.#channels.set(channel, (publishers = new Map()));
    let numbers = publishers.get(publisher);
    if (numbers === undefined) publishers.set(publisher, (numbers = new Map()));
    return numbers;
  }

  /** The acknowledged events of a channel, by offset. */
  places(
    channel: string,
    isLost: (code: number, offset: number) => boolean = () => false,
  ): ReadonlyMap<number, { readonly code: number } & Acknowledged> {
    const places = new Map<number, { readonly code: number } & Acknowledged>();
    for (const publisher of this.publishers(channel)) {
      for (const [number, event] of this.numbers(channel, publisher)) {
        const code = codeOf({ publisher, number });
        if (event.offset !== null && !isLost(code, event.offset))
          places.set(event.offset, { code, ...event });
      }
    }
    return places;
  }

  /**
   * Returns contradictions between the receipts themselves, independent of clients. Lost events (`isLost`) had a
   * position in a replaced history.
   */
  *contradictions(
    channel: string,
    isLost: (code: number, offset: number) => boolean = () => false,
  ): Generator<string> {
    const epochs = this.#epochsOf(channel);
    if (epochs.size > 1) yield `${channel}: its log has begun anew: ${[...epochs].join(" ")}`;
    const places = this.places(channel, isLost);
    const placed = this.publishers(channel).flatMap((publisher) =>
      [...this.numbers(channel, publisher)].filter(
        ([number, { offset }]) => offset !== null && !isLost(codeOf({ publisher, number }), offset),
      ),
    ).length;
    if (placed > places.size) yield `${channel}: two acknowledged events have one place`;
    let latest = { issuedAt: -Infinity, name: "" };
    for (const [offset, { code, issuedAt, settledAt }] of [...places].toSorted(
      ([one], [other]) => one - other,
    )) {
      const name = `${nameOf(code)} at ${offset}`;
      if (settledAt < latest.issuedAt) yield `${channel}: ${name} was there before ${latest.name} was issued`;
      if (issuedAt > latest.issuedAt) latest = { issuedAt, name };
    }
  }

  #epochsOf(channel: string): Set<string> {
    let epochs = this.#epochs.get(channel);
    if (epochs === undefined) this.#epochs.set(channel, (epochs = new Set()));
    return epochs;
  }
}
