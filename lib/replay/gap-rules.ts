import { isLossMark } from "../entry-id.js";
import type { Ending } from "../events/inbound-event.js";
import type { GapReason } from "../events/gap.js";
import { haveOtherStamps, placeBefore, type EventIdEntry, type Position } from "../sse/event-id.js";
import type { ChannelReplay } from "./channel-replay.js";
import type { LogPage, LogState, Tail } from "./history-port.js";
import type { ResumeLimit, RequestedStart } from "./last-event-id.js";

/*
 * Decides which gaps of a history a client gets. `decideStart`, `confirmStart` and `limitStart` decide at the start of a
 * stream. `judgePage` decides for each page that is read later. The functions have no effects.
 *
 * `catch-up.ts` makes two decisions itself. It decides how far to go back if a history has lost events, and it detects a
 * loss from the stamps of two consecutive events. `events/gap.ts` lists all gap reasons and the files that decide them.
 */

/** Where a stream starts in one channel. */
export interface Start {
  /** The position of the last event that the client has, or counts as having. */
  readonly position: Position;
  /** Why the client does not get some events that it asked for; `null` if it gets all. */
  readonly gap: GapReason | null;
  /** Whether the position is from the id that the client sent. */
  readonly resumed: boolean;
}

/**
 * Decides where a stream starts in a channel, from the known state of its history. `budget` is how many events the stream may
 * still replay. For `memoryMs`, see `HistoryPort.memoryMs()`. `now` is the time of Redis. `confirmStart()` then checks whether
 * the events are still stored.
 */
export function decideStart(
  channel: string,
  requested: RequestedStart,
  { position: top, finite, ending, at, run, mayHaveLost, isInvalid }: Tail,
  { budget, memoryMs, now }: { readonly budget: number; readonly memoryMs: number; readonly now: number },
): Start {
  const atTop = (gap: GapReason | null = null): Start => ({ position: top, gap, resumed: false });
  const atBeginning = top.epoch === "" ? top : { epoch: top.epoch, offset: 0 };
  if (isInvalid) return atTop("invalid");
  if (requested === "malformed") return atTop("malformed");
  // A client may always read a finite channel from its start.
  const isFinite = finite || ending !== null;
  if (requested === "earliest" || (isFinite && (requested === "now" || requested === "foreign"))) {
    return { position: atBeginning, gap: null, resumed: false };
  }
  if (requested === "foreign") return atTop("foreign");
  if (requested === "now") return atTop();
  const given = requested.find(channel, top.epoch);
  if (given === null) return atTop("foreign");
  const floor = isFinite ? null : findFloor(channel, requested.limit, top.epoch, now);
  if (typeof floor === "string") return atTop(floor);
  const isTooEarly = floor !== null && isBefore(given, floor, top.epoch);
  const entry = isTooEarly ? floor : given;
  const gap = isTooEarly ? "foreign" : null;
  if (entry.epoch === "") {
    // The history did not exist then. If that was too long ago, or Redis has lost data, a later history may have been lost.
    const isOtherRun = entry.run !== run && entry.run !== 0 && run !== 0;
    const isForgotten = at - entry.since! > memoryMs && (memoryMs > 0 || top.epoch === "");
    if (isForgotten || (isOtherRun && mayHaveLost)) return atTop("epoch");
    return top.offset > budget ? atTop("limit") : { position: atBeginning, gap, resumed: true };
  }
  if (entry.epoch !== top.epoch) return atTop("epoch");
  if (isLost(entry, top)) return atTop("future");
  if (top.offset - entry.offset > budget) return atTop("limit");
  const { epoch, offset, stamp } = entry;
  return { position: { epoch, offset, ...(stamp !== undefined && { stamp }) }, gap, resumed: true };
}

/** Returns the place before which the client may not resume; `null` for no limit; or why it may not resume at all. */
function findFloor(
  channel: string,
  limit: ResumeLimit | null,
  epoch: string,
  now: number,
): EventIdEntry | GapReason | null {
  if (limit === null) return null;
  const floor = limit.floors?.find(channel, epoch) ?? null;
  if (floor === null) return "foreign";
  return now > limit.validUntil ? "trimmed" : floor;
}

/** Whether a place is before the floor. If the history is not the one of the floor, all its events are newer than the floor. */
function isBefore(place: Position, floor: Position, epoch: string): boolean {
  if (floor.epoch !== epoch || epoch === "") return false;
  return place.epoch === "" || (place.epoch === epoch && place.offset < floor.offset);
}

/** Checks, with the state from a read, whether the events after a start are still stored. */
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
    // Events that the history has dropped may have arrived live since the subscription.
    const isHeard = firstHeard?.epoch === position.epoch && firstHeard.offset <= position.offset + 1;
    return first <= position.offset + 1 || isHeard ? start : atTop("trimmed");
  }
  if (first > top.offset) return atTop("trimmed");
  const isWhole = first === 1 || isEarliest;
  return { position: { epoch: top.epoch, offset: first - 1 }, gap: isWhole ? gap : "trimmed", resumed };
}

/** Moves a start forward if it would replay more than `budget` events. */
export function limitStart(start: Start, top: Position, budget: number): Start {
  const { epoch, offset } = start.position;
  if (start.resumed || top.offset - offset <= budget) return start;
  return { position: { epoch, offset: top.offset - budget }, gap: "limit", resumed: false };
}

/** What a page shows about the events that a client is missing. */
export type PageVerdict =
  /** Nothing, because the history has changed since the page was read. */
  | { readonly kind: "outdated" }
  /** No event is missing, as far as this page shows. */
  | { readonly kind: "no-events" }
  /** The history seems to have lost events. It must be read again, because a replaced master may have answered. */
  | { readonly kind: "doubt" }
  | OtherLog
  /** The history has lost events that the client has. Other events may have their offsets. */
  | { readonly kind: "rolled-back"; readonly isTold: boolean }
  /** The client skips all events up to `to`, and gets a gap. */
  | { readonly kind: "skip"; readonly gap: GapReason; readonly to: Position; readonly ending: Ending | null }
  /** The client gets the events of the page. Missing events up to `trimmedTo` were trimmed. */
  | { readonly kind: "events"; readonly trimmedTo: Position | null };

/**
 * The channel has another history than the one of the client's position. If `gap` is `null`, the client misses no events of
 * the former history.
 */
export interface OtherLog {
  readonly kind: "other-log";
  readonly gap: GapReason | null;
  readonly to: Position;
  readonly ending: Ending | null;
}

/**
 * Decides what a page means for a client. `isFresh` is true if the page is newer than everything else that is known about the
 * history. `maxReplayEvents` is the most events that a client gets after it has fallen behind.
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
  // The history is shorter than expected, or another event has the offset. In both cases, Redis has lost its newest events.
  const isAhead = first === undefined && isFresh && top.offset < from.offset;
  const isOther = haveOtherStamps(from.stamp, page.previousStamp);
  // The publisher has marked the loss, so another read is not needed.
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

/** The history of the client's position does not exist any more. The channel has a new history, or none yet. */
function judgeOtherLog(
  track: Pick<ChannelReplay, "position" | "ended" | "endedEpoch">,
  { position: top, ending, isInvalid }: LogPage,
  isLostLog: boolean,
): OtherLog {
  const begin = top.epoch === "" ? top : { epoch: top.epoch, offset: 0 };
  // If the former history had ended, the client misses none of its events.
  const isAnew = track.ended !== null;
  const from = isAnew ? "" : track.position!.epoch;
  const endedEpoch = isAnew ? track.position!.epoch : track.endedEpoch;
  if (from !== "" || isLostLog) {
    return { kind: "other-log", gap: isInvalid ? "invalid" : "epoch", to: begin, ending: null };
  }
  // An equal epoch means that this is still the ended history. The client has all its events.
  const isOld = top.epoch === endedEpoch;
  return { kind: "other-log", gap: null, to: isOld ? top : begin, ending: isOld ? ending : null };
}

/**
 * Whether a history whose newest position is `top` has lost the event at `position`. For a position before `top`, the loss
 * cannot be detected, and the result is false.
 */
export function isLost(position: Position, top: Position): boolean {
  return (
    position.offset > top.offset ||
    (position.offset === top.offset && haveOtherStamps(position.stamp, top.stamp))
  );
}
