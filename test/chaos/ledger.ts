import { parseEventId } from "../../lib/sse/event-id.js";
import { codeOf, nameOf } from "./payload.js";

/** One attempt to publish, once it is settled. Times are `machineNow()`. */
export interface Settled {
  readonly channel: string;
  readonly publisher: number;
  readonly number: number;
  readonly issuedAt: number;
  readonly settledAt: number;
  /** What `publish()` answered; `undefined` where it rejected. */
  readonly id: string | null | undefined;
  /** It was sent once at the most, whatever became of it. */
  readonly isPlain?: boolean;
}

/** An event that `publish()` has acknowledged. */
export interface Acknowledged {
  readonly issuedAt: number;
  readonly settledAt: number;
  /** Its place in the log, where `publish()` has told it. */
  readonly offset: number | null;
}

interface Unsettled {
  readonly code: number;
  readonly issuedAt: number;
  readonly settledAt: number;
}

/** What one publisher has published on a channel. */
type Numbers = Map<number, Acknowledged>;

/**
 * All that was acknowledged. What is not here is uncertain: rejected, or published by a process that was killed
 * before it could say so.
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

  /** Whether what a publisher has sent can come once at the most, over one connection. */
  sendsOnce(publisher: number): boolean {
    return this.#plain.has(publisher);
  }

  /** What was rejected, and may have come all the same. */
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

  /** The acknowledged events of a channel at their offsets. */
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
   * What is wrong with the acknowledgements themselves, whatever clients have received. What was lost since (`isLost`)
   * had a place in a log that was given up.
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
