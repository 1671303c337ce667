import { isLossMark } from "../entry-id.js";
import type { Ending } from "../events/inbound-event.js";
import type { GapReason } from "../events/gap.js";
import { haveOtherStamps, placeBefore, type Position, type Wish } from "../sse/event-id.js";
import type { ChannelReplay } from "./channel-replay.js";
import type { LogPage, LogState, Tail } from "./history-port.js";

/*
 * Decides which gaps of a log a client gets: when its stream starts (`decideStart`, `confirmStart`, `limitStart`), and for
 * each page that is read later (`judgePage`). The functions only decide: they read nothing, write nothing and change nothing.
 * Two decisions stay where they are applied, in `catch-up.ts`: how far to go back in a log that has lost events, and a loss that the
 * stamps of two events in a row show.
 * Other files decide the gaps that are not about a log: `events/gap.ts` lists all reasons with their files.
 */

/** Where a stream starts in one channel. */
export interface Start {
  /** The last event that the client has, or counts as having. */
  readonly position: Position;
  /** Why the client does not get the earlier events; `null` if it gets all that it asked for. */
  readonly gap: GapReason | null;
  /** It is the client's own place. */
  readonly resumed: boolean;
}

/**
 * Decides where a stream starts in a channel whose log stands at `tail`. `budget` is how many events it may still
 * replay; for `memoryMs`, see `HistoryPort.memoryMs()`. Whether the log reaches back that far, `confirmStart()` decides.
 */
export function decideStart(
  channel: string,
  wish: Wish,
  { position: top, finite, ending, at, run, mayHaveLost, isInvalid }: Tail,
  { budget, memoryMs }: { readonly budget: number; readonly memoryMs: number },
): Start {
  const atTop = (gap: GapReason | null = null): Start => ({ position: top, gap, resumed: false });
  const atBeginning = top.epoch === "" ? top : { epoch: top.epoch, offset: 0 };
  if (isInvalid) return atTop("invalid");
  if (wish === "malformed") return atTop("malformed");
  if (wish === "earliest" || (wish === "now" && (finite || ending !== null))) {
    return { position: atBeginning, gap: null, resumed: false };
  }
  if (wish === "now") return atTop();
  const entry = wish.find(channel, top.epoch);
  if (entry === null) return atTop("foreign");
  if (entry.epoch === "") {
    // If that was too long ago, or Redis has lost its data since, a log may have existed and been lost.
    const isOtherRun = entry.run !== run && entry.run !== 0 && run !== 0;
    const isForgotten = at - entry.since! > memoryMs && (memoryMs > 0 || top.epoch === "");
    if (isForgotten || (isOtherRun && mayHaveLost)) return atTop("epoch");
    return top.offset > budget ? atTop("limit") : { position: atBeginning, gap: null, resumed: true };
  }
  if (entry.epoch !== top.epoch) return atTop("epoch");
  if (isLost(entry, top)) return atTop("future");
  if (top.offset - entry.offset > budget) return atTop("limit");
  const { epoch, offset, stamp } = entry;
  return { position: { epoch, offset, ...(stamp !== undefined && { stamp }) }, gap: null, resumed: true };
}

/** Decides whether the log, as a read has found it, still holds the events after a start. */
export function confirmStart(
  start: Start,
  top: Position,
  { first, position: found }: LogState,
  firstHeard: Position | null,
  isEarliest: boolean,
): Start {
  const { position, resumed, gap } = start;
  const atTop = (reason: GapReason): Start => ({ position: top, gap: reason, resumed: false });
  if (found.epoch !== top.epoch) return atTop("epoch");
  if (resumed) {
    // What was dropped from the log may have come live since the subscription.
    const isHeard = firstHeard?.epoch === position.epoch && firstHeard.offset <= position.offset + 1;
    return first <= position.offset + 1 || isHeard ? start : atTop("trimmed");
  }
  if (first > top.offset) return atTop("trimmed");
  const isWhole = first === 1 || isEarliest;
  return { position: { epoch: top.epoch, offset: first - 1 }, gap: isWhole ? gap : "trimmed", resumed };
}

/** Leaves out the oldest events of a start that would replay more than `budget` events. */
export function limitStart(start: Start, top: Position, budget: number): Start {
  const { epoch, offset } = start.position;
  if (start.resumed || top.offset - offset <= budget) return start;
  return { position: { epoch, offset: top.offset - budget }, gap: "limit", resumed: false };
}

/** What a page of a log says about the events that a client is missing. */
export type PageVerdict =
  /** Nothing: the log has changed since it was read. */
  | { readonly kind: "outdated" }
  /** No event is missing, as far as this page shows. */
  | { readonly kind: "no-events" }
  /** The log seems to have lost events. A master that was just replaced may say so: read again. */
  | { readonly kind: "doubt" }
  | OtherLog
  /** The log has lost events that the client has, and their offsets may have been given to others. */
  | { readonly kind: "rolled-back"; readonly isTold: boolean }
  /** The client gets none of the events up to `to`. */
  | { readonly kind: "skip"; readonly gap: GapReason; readonly to: Position; readonly ending: Ending | null }
  /** The client gets the events of the page; those up to `trimmedTo` are gone. */
  | { readonly kind: "events"; readonly trimmedTo: Position | null };

/**
 * The log is another than that of the client's place. Without `gap`, the client misses nothing of the former one.
 */
export interface OtherLog {
  readonly kind: "other-log";
  readonly gap: GapReason | null;
  readonly to: Position;
  readonly ending: Ending | null;
}

/**
 * Decides what a page means for a client. `isFresh`: it was read after everything that is known of the log.
 * `maxReplayEvents` is the most that a client is sent which has fallen behind.
 */
export function judgePage(
  track: Pick<ChannelReplay, "position" | "doubtedAt" | "ended" | "endedEpoch" | "replaying">,
  page: LogPage,
  isFresh: boolean,
  maxReplayEvents: number,
): PageVerdict {
  const from = track.position!;
  const top = page.position;
  const isOtherRun = Boolean(from.run) && page.run !== 0 && from.run !== page.run;
  const isLostLog = from.epoch === "" && isOtherRun && page.mayHaveLost;
  if (top.epoch !== from.epoch || isLostLog) {
    return isFresh ? judgeOtherLog(track, page, isLostLog) : { kind: "outdated" };
  }
  const first = page.events[0];
  // Redis has lost the newest events, and other events may have their offsets.
  const isAhead = first === undefined && isFresh && top.offset < from.offset;
  const isOther = haveOtherStamps(from.stamp, page.previousStamp);
  // Its publisher says so: no other read can say anything else.
  const isTold = isOther && isLossMark(page.previousStamp);
  if (isAhead || isOther) {
    return track.doubtedAt !== null || isTold ? { kind: "rolled-back", isTold } : { kind: "doubt" };
  }
  const skip = (gap: GapReason): PageVerdict => ({ kind: "skip", gap, to: top, ending: page.ending });
  if (first === undefined) {
    return isFresh && top.offset > from.offset ? skip("trimmed") : { kind: "no-events" };
  }
  if (!track.replaying && top.offset - from.offset > maxReplayEvents) return skip("limit");
  const isTrimmed = first.position.offset > from.offset + 1;
  return { kind: "events", trimmedTo: isTrimmed ? placeBefore(first.position) : null };
}

/** The channel's log is not the log of the client's position: the channel has a new log, or no log. */
function judgeOtherLog(
  track: Pick<ChannelReplay, "position" | "ended" | "endedEpoch">,
  { position: top, ending, isInvalid }: LogPage,
  isLostLog: boolean,
): OtherLog {
  const begin = top.epoch === "" ? top : { epoch: top.epoch, offset: 0 };
  // A log that starts after the end of the former one is new, and no events of that one are missing.
  const isAnew = track.ended !== null;
  const from = isAnew ? "" : track.position!.epoch;
  const endedEpoch = isAnew ? track.position!.epoch : track.endedEpoch;
  if (from !== "" || isLostLog) {
    return { kind: "other-log", gap: isInvalid ? "invalid" : "epoch", to: begin, ending: null };
  }
  // This log has ended, and the client has all of it: it is not a new log.
  const isOld = top.epoch === endedEpoch;
  return { kind: "other-log", gap: null, to: isOld ? top : begin, ending: isOld ? ending : null };
}

/** Whether a log that stands at `top` has lost the event at `position`. Cannot tell for an event before its newest. */
export function isLost(position: Position, top: Position): boolean {
  return (
    position.offset > top.offset ||
    (position.offset === top.offset && haveOtherStamps(position.stamp, top.stamp))
  );
}
