import {
  haveOtherStamps,
  parseEventId,
  shortTagOf,
  tagOf,
  type EventIdEntry,
  type Position,
} from "../sse/event-id.js";
import type { Tail } from "./history-port.js";
import type { GapReason } from "../events/inbound-event.js";

/** What a client asks for as its last event id: everything that is held. */
export const EARLIEST = "earliest";

/** What a client said of where it was. */
export type Wish = "now" | "earliest" | "malformed" | ClientPlaces;

/** Reads a `Last-Event-ID` for a stream of `channels`. Anybody may have written it. */
export function parseWish(lastEventId: string | undefined, channels: readonly string[]): Wish {
  if (lastEventId === undefined || lastEventId === "") return "now";
  if (lastEventId === EARLIEST) return "earliest";
  const cursor = parseEventId(lastEventId);
  return cursor === null ? "malformed" : new ClientPlaces(cursor, channels);
}

/**
 * The client's places in the channels of its stream, from its cursor. A place is never taken for that of another channel: if
 * two channels have one tag, the epoch must say which of them is meant.
 */
export class ClientPlaces {
  readonly #entries = new Map<string, readonly EventIdEntry[]>();
  /** Channels whose tag another channel of the stream has too. */
  readonly #shared = new Set<string>();

  constructor(cursor: readonly EventIdEntry[], channels: readonly string[]) {
    const given = groupBy(cursor, ({ tag, isVersion1 }) => keyOf(tag, isVersion1));
    const tags = channels.map((channel) => [channel, tagOf(channel)] as const);
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

  /** The place in a channel whose log has that epoch, or the place in another log of the channel; `null` if there is none. */
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

/** Where a stream begins in one channel. */
export interface Start {
  /** The last event that the client has, or is to be taken as having. */
  readonly position: Position;
  /** What the client will not get, and why. */
  readonly gap?: GapReason;
  /** The client's own cursor is what it begins with. */
  readonly resumed: boolean;
}

/**
 * Decides where a stream begins in a channel whose log stands at `tail`. `budget` is how many events it may still
 * replay; for `memoryMs`, see `HistoryPort.memoryMs()`. The caller checks whether the log reaches back that far.
 */
export function findStart(
  channel: string,
  wish: Wish,
  { position: top, finite, ending, at, run, mayHaveLost }: Tail,
  { budget, memoryMs }: { readonly budget: number; readonly memoryMs: number },
): Start {
  const atTop = (gap?: GapReason): Start => ({ position: top, resumed: false, ...(gap && { gap }) });
  const atBeginning = top.epoch === "" ? top : { epoch: top.epoch, offset: 0 };
  if (wish === "malformed") return atTop("malformed");
  if (wish === "earliest" || (wish === "now" && (finite || ending !== null))) {
    return { position: atBeginning, resumed: false };
  }
  if (wish === "now") return atTop();
  const entry = wish.find(channel, top.epoch);
  if (entry === null) return atTop("foreign");
  if (entry.epoch === "") {
    // If that was too long ago, or Redis has lost its data since, a log may have existed and been lost.
    const isOtherRun = entry.run !== run && entry.run !== 0 && run !== 0;
    const isForgotten = at - entry.since! > memoryMs && (memoryMs > 0 || top.epoch === "");
    if (isForgotten || (isOtherRun && mayHaveLost)) return atTop("epoch");
    return top.offset > budget ? atTop("limit") : { position: atBeginning, resumed: true };
  }
  if (entry.epoch !== top.epoch) return atTop("epoch");
  if (isLost(entry, top)) return atTop("future");
  if (top.offset - entry.offset > budget) return atTop("limit");
  const { epoch, offset, stamp } = entry;
  return { position: { epoch, offset, ...(stamp !== undefined && { stamp }) }, resumed: true };
}

/** Whether a log that stands at `top` has lost the event at `position`. Cannot tell for an event before its newest. */
export function isLost(position: Position, top: Position): boolean {
  return (
    position.offset > top.offset ||
    (position.offset === top.offset && haveOtherStamps(position.stamp, top.stamp))
  );
}
