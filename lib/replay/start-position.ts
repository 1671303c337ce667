import type { GapReason } from "../events/gap.js";
import {
  placeBefore,
  type Position,
  haveOtherStamps,
  parseEventId,
  shortTagOf,
  tagOf,
  type EventIdEntry,
} from "../sse/event-id.js";
import type { ChannelReplay } from "./channel-replay.js";
import type { HistoryPort, LogState, Tail } from "./history-port.js";
import type { ChannelLog } from "./log-head.js";

/** What is asked where the logs stand. */
export interface StartSource {
  readonly port: HistoryPort;
  readonly log: (channel: string) => ChannelLog;
  /** The most that a stream is sent from the logs of all its channels when it begins. */
  readonly maxReplayEvents: number;
  /** As `Tracks.pause()`. */
  readonly pause: () => Promise<void>;
}

/** Where a stream begins in one channel, by what its log was seen to hold. */
export interface FoundStart {
  readonly track: ChannelReplay;
  readonly tail: Tail;
  readonly position: Position;
  readonly gap: GapReason | null;
  /** It is the client's own place. */
  readonly resumed: boolean;
}

/**
 * Finds where a stream begins in each of its channels, once they are subscribed. Reads no events, because a client
 * may leave before it takes the first one. Rejects with a fault of Redis.
 */
export async function findStarts(
  tracks: readonly ChannelReplay[],
  wish: Wish,
  source: StartSource,
): Promise<readonly FoundStart[]> {
  const logs = await Promise.all(tracks.map(({ channel }) => lookAt(channel, wish, source)));
  let budget = source.maxReplayEvents;
  const wished = tracks.map((track, index) => {
    const { tail, state } = logs[index]!;
    const memoryMs = source.port.memoryMs(track.channel);
    const start = findStart(track.channel, wish, tail, { budget, memoryMs });
    if (start.resumed) budget -= tail.position.offset - start.position.offset;
    return { track, tail, state, start };
  });
  const found = await Promise.all(wished.map((each) => verify(each, wish, source)));
  return found.map((start) => {
    const { tail, position } = start;
    const replayed = tail.position.offset - position.offset;
    if (start.resumed) return start;
    // Of those that begin with their beginning, the newest that may still be sent.
    const allowed = Math.min(replayed, budget);
    budget -= allowed;
    if (allowed === replayed) return start;
    return {
      ...start,
      position: { epoch: position.epoch, offset: tail.position.offset - allowed },
      gap: "limit" as const,
    };
  });
}

/** The known state of a log, and the state that was read just now; `null` if no read was needed. */
interface KnownLog {
  readonly tail: Tail;
  readonly state: LogState | null;
}

interface WishedStart extends KnownLog {
  readonly track: ChannelReplay;
  readonly start: Start;
}

/**
 * The state of a log. Reads it again if the known state may be outdated: a cursor may be ahead of it, and a channel
 * that has ended may have a new log (a task that is queued again).
 */
async function lookAt(channel: string, wish: Wish, { port, log, pause }: StartSource): Promise<KnownLog> {
  const known = log(channel).tail;
  const isSure = known !== null && known.ending === null && !known.isInvalid;
  if (isSure && !isAhead(wish, channel, known)) return { tail: known, state: null };
  let state = await port.tail(channel, known === null ? log(channel).since : port.now());
  if (hasLost(state, wish, channel)) {
    const doubtedAt = port.now();
    await pause();
    state = await port.tail(channel, doubtedAt);
  }
  log(channel).note(state);
  return { tail: log(channel).tail ?? state, state };
}

/** Looks whether the log still has what the start promises. */
async function verify(
  { track, tail, state, start }: WishedStart,
  wish: Wish,
  { port, log }: StartSource,
): Promise<FoundStart> {
  const top = tail.position;
  const { position, resumed, gap = null } = start;
  if (tail.isInvalid) return { track, tail, position: top, gap: "invalid", resumed: false };
  if (position.offset >= top.offset) return { track, tail, position, gap, resumed };
  const { channel } = track;
  // Clients that reconnect together share one read. Later clients use the page that was read for the first one.
  const { first, position: found } =
    state ?? (await port.peek(channel, position, top)) ?? (await port.tail(channel, log(channel).since));
  if (found.epoch !== top.epoch) return { track, tail, position: top, gap: "epoch", resumed: false };
  if (resumed) {
    // What was dropped from the log may have come live since the subscription.
    const { firstHeard } = track;
    const isHeard = firstHeard?.epoch === position.epoch && firstHeard.offset <= position.offset + 1;
    if (first <= position.offset + 1 || isHeard) return { track, tail, position, gap, resumed };
  } else if (first <= top.offset) {
    const isWhole = first === 1 || wish === "earliest";
    return {
      track,
      tail,
      position: { epoch: top.epoch, offset: first - 1 },
      gap: isWhole ? gap : "trimmed",
      resumed,
    };
  }
  return { track, tail, position: top, gap: "trimmed", resumed: false };
}

/** The track begins where that was found. `isNow`: the client has asked for nothing that was before. */
export function takePlace({ track, tail, position, gap }: FoundStart, isNow: boolean): void {
  const { firstHeard } = track;
  const isEarlier =
    firstHeard !== null && firstHeard.epoch === position.epoch && firstHeard.offset <= position.offset;
  // What has come since the subscription belongs to a stream that begins now.
  const own = isNow && gap === null && position.offset === tail.position.offset && tail.ending === null;
  track.position = own && isEarlier ? placeBefore(firstHeard) : position;
  // There was no log, and the first event has come since.
  if (position.epoch === "" && firstHeard?.offset === 1) {
    track.position = { epoch: firstHeard.epoch, offset: 0 };
  }
  if (track.position.offset >= tail.position.offset) track.ended = tail.ending;
  track.replaying = true;
}

/** Whether the client has all of a channel that is complete. */
export function hasAll({ tail, position, resumed }: FoundStart): boolean {
  return tail.ending !== null && resumed && position.offset === tail.position.offset;
}

/** Whether the log has lost the event at the client's place. */
function hasLost({ position }: Tail, wish: Wish, channel: string): boolean {
  if (typeof wish === "string") return false;
  const entry = wish.find(channel, position.epoch);
  return entry !== null && entry.epoch === position.epoch && isLost(entry, position);
}

function isAhead(wish: Wish, channel: string, { position }: Tail): boolean {
  if (typeof wish === "string") return false;
  const entry = wish.find(channel, position.epoch);
  return entry !== null && (entry.epoch !== position.epoch || isLost(entry, position));
}

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
