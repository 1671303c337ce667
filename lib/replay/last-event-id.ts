import { parseEventId, shortTagOf, splitToken, tagOf, type EventIdEntry } from "../sse/event-id.js";

/** The `Last-Event-ID` of a client that wants all events of the history. */
export const EARLIEST = "earliest";

/** The start position that a client requests. */
export type RequestedStart = "now" | "earliest" | "malformed" | "foreign" | ClientPlaces;

/** How far back a client may resume. A client may always read a finite channel as a whole. */
export interface ResumeLimit {
  /** The earliest place from which the client may resume in each channel; `null`: in no channel. */
  readonly floors: ClientPlaces | null;
  /** Until when the floors are valid, in milliseconds of Redis' clock. */
  readonly validUntil: number;
}

/** The client may not resume. */
export const NO_RESUME: ResumeLimit = { floors: null, validUntil: Infinity };

/**
 * Parses a `Last-Event-ID` for a stream of `channels`. It is untrusted input: only if the application lets new streams start at
 * the earliest event (`from`), the client may ask for it.
 */
export function parseLastEventId(
  lastEventId: string | undefined,
  channels: readonly string[],
  from: "now" | "earliest" = "now",
  limit: ResumeLimit | null = null,
): RequestedStart {
  const places = lastEventId === undefined ? "" : splitToken(lastEventId).places;
  if (places === "") return from;
  if (places === EARLIEST) return from === "earliest" ? from : "foreign";
  const cursor = parseEventId(places);
  if (limit === NO_RESUME) {
    // A new client of this stream gets all events that are kept.
    if (from === "earliest") return from;
    if (cursor === null) return "foreign";
  }
  return cursor === null ? "malformed" : new ClientPlaces(cursor, channels, limit);
}

/**
 * The places of a client in the channels of its stream, from its cursor. Two channels can have the same tag. Then the epoch must
 * identify the channel, so that a place is never used for another channel.
 */
export class ClientPlaces {
  /** How far back the places count. `null`: without a limit. */
  readonly limit: ResumeLimit | null;
  readonly #entries = new Map<string, readonly EventIdEntry[]>();
  /** Channels that share their tag with another channel of the stream. */
  readonly #shared = new Set<string>();

  constructor(
    cursor: readonly EventIdEntry[],
    channels: readonly string[],
    limit: ResumeLimit | null = null,
    tagFor: (channel: string) => number = tagOf,
  ) {
    this.limit = limit;
    const given = groupBy(cursor, ({ tag, isVersion1 }) => keyOf(tag, isVersion1));
    const tags = channels.map((channel) => [channel, tagFor(channel)] as const);
    const named = groupBy(tags, ([, tag]) => keyOf(tag));
    const namedBefore = groupBy(tags, ([, tag]) => keyOf(shortTagOf(tag), true));
    for (const [channel, tag] of tags) {
      const before = keyOf(shortTagOf(tag), true);
      const isUnique = namedBefore.get(before)!.length === 1;
      const entries = given.get(keyOf(tag)) ?? [];
      this.#entries.set(channel, isUnique ? [...entries, ...(given.get(before) ?? [])] : entries);
      if (named.get(keyOf(tag))!.length > 1) this.#shared.add(channel);
    }
  }

  /** The place in the log of a channel with this epoch, or else in another log of the channel. `null` if the client has no place. */
  find(channel: string, epoch: string): EventIdEntry | null {
    const entries = this.#entries.get(channel) ?? [];
    const isShared = this.#shared.has(channel);
    const [entry, ...others] = entries.filter((each) => each.epoch === epoch);
    if (others.length > 0) return null;
    if (entry !== undefined && !(isShared && epoch === "")) return entry;
    return isShared || entries.length !== 1 ? null : entries[0]!;
  }
}

const keyOf = (tag: number, isVersion1 = false): string => (isVersion1 ? `1.${tag}` : `${tag}`);

function groupBy<Item>(
  items: readonly Item[],
  key: (item: Item) => string,
): ReadonlyMap<string, readonly Item[]> {
  const groups = new Map<string, Item[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group === undefined) groups.set(key(item), [item]);
    else group.push(item);
  }
  return groups;
}
