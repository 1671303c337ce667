import { isOfChannel, parseCursor, tagOf, type CursorEntry, type Position } from "./cursor.js";
import type { Tail } from "./history-port.js";
import type { GapReason } from "./inbound-event.js";

/** What a client asks for as its last event id: everything that is held. */
export const EARLIEST = "earliest";

/** What a client said of where it was. */
export type Wish = "now" | "earliest" | "malformed" | readonly CursorEntry[];

/** Reads a `Last-Event-ID`, which anybody may have written. */
export function parseWish(lastEventId: string | undefined): Wish {
  if (lastEventId === undefined || lastEventId === "") return "now";
  if (lastEventId === EARLIEST) return "earliest";
  return parseCursor(lastEventId) ?? "malformed";
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
 * The client's place in a channel, from its cursor. If several entries have the tag of the channel, the epoch
 * decides. Returns `null` if their epochs are the same too.
 */
export function entryOf(cursor: readonly CursorEntry[], channel: string, epoch: string): CursorEntry | null {
  const tag = tagOf(channel);
  const entries = cursor.filter((entry) => isOfChannel(entry, tag));
  const [entry = entries[0], ...others] = entries.filter((each) => each.epoch === epoch);
  return entry === undefined || others.length > 0 ? null : entry;
}

/**
 * Decides where a stream begins in a channel whose log stands at `tail`. `budget` is how many events it may still
 * replay; for `memoryMs`, see `HistoryPort.memoryMs()`. The caller checks whether the log reaches back that far.
 */
export function findStart(
  channel: string,
  wish: Wish,
  { position: top, finite, ending, at, run, startedEmpty }: Tail,
  { budget, memoryMs }: { readonly budget: number; readonly memoryMs: number },
): Start {
  const atTop = (gap?: GapReason): Start => ({ position: top, resumed: false, ...(gap && { gap }) });
  const atBeginning = top.epoch === "" ? top : { epoch: top.epoch, offset: 0 };
  if (wish === "malformed") return atTop("malformed");
  if (wish === "earliest" || (wish === "now" && (finite || ending !== null))) {
    return { position: atBeginning, resumed: false };
  }
  if (wish === "now") return atTop();
  const entry = entryOf(wish, channel, top.epoch);
  if (entry === null) return atTop("foreign");
  if (entry.epoch === "") {
    // If that was too long ago, or Redis has lost its data since, a log may have existed and been lost.
    const isOtherRun = entry.run !== run && entry.run !== 0 && run !== 0;
    if (at - entry.since! > memoryMs || (isOtherRun && startedEmpty)) return atTop("epoch");
    return top.offset > budget ? atTop("limit") : { position: atBeginning, resumed: true };
  }
  if (entry.epoch !== top.epoch) return atTop("epoch");
  if (entry.offset > top.offset) return atTop("future");
  if (top.offset - entry.offset > budget) return atTop("limit");
  return { position: { epoch: entry.epoch, offset: entry.offset }, resumed: true };
}
