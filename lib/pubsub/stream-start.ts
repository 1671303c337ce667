import type { ChannelTrack } from "./channel-track.js";
import type { Position } from "./cursor.js";
import type { HistoryPort, Tail } from "./history-port.js";
import type { GapReason } from "./inbound-event.js";
import { entryOf, findStart, type Start, type Wish } from "./resume.js";
import type { ChannelLog } from "./transport.js";

/** What is asked where the logs stand. */
export interface StartSource {
  readonly port: HistoryPort;
  readonly log: (channel: string) => ChannelLog;
  /** The most that a stream is sent from the logs of all its channels when it begins. */
  readonly maxReplayEvents: number;
}

/** Where a stream begins in one channel, by what its log was seen to hold. */
export interface FoundStart {
  readonly track: ChannelTrack;
  readonly tail: Tail;
  readonly position: Position;
  readonly gap: GapReason | null;
  /** It is the client's own place. */
  readonly resumed: boolean;
}

/** Finds where a stream begins in each of its channels, once they are subscribed. Rejects with a fault of Redis. */
export async function findStarts(
  tracks: readonly ChannelTrack[],
  wish: Wish,
  source: StartSource,
): Promise<readonly FoundStart[]> {
  const tails = await Promise.all(tracks.map(({ channel }) => tailOf(channel, wish, source)));
  let budget = source.maxReplayEvents;
  const wished = tracks.map((track, index) => {
    const tail = tails[index]!;
    const start = findStart(track.channel, wish, tail, budget);
    if (start.resumed) budget -= tail.position.offset - start.position.offset;
    return { track, tail, start };
  });
  const found = await Promise.all(
    wished.map(({ track, tail, start }) => verify(track, wish, tail, start, source)),
  );
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
      position: { ...position, offset: tail.position.offset - allowed },
      gap: "limit" as const,
    };
  });
}

/** Where a log stands, as it is known or as it is read; a cursor that is ahead of what is known may still be right. */
async function tailOf(channel: string, wish: Wish, { port, log }: StartSource): Promise<Tail> {
  const known = log(channel).tail;
  if (known !== null && !isAhead(wish, channel, known)) return known;
  const read = await port.tail(channel, known === null ? log(channel).since : port.now());
  log(channel).note(read);
  return log(channel).tail ?? read;
}

/** Looks whether the log still has what the start promises. */
async function verify(
  track: ChannelTrack,
  wish: Wish,
  tail: Tail,
  start: Start,
  { port }: StartSource,
): Promise<FoundStart> {
  const top = tail.position;
  const { position, resumed, gap = null } = start;
  if (position.offset >= top.offset) return { track, tail, position, gap, resumed };
  const page = await port.read(track.channel, position, { since: port.now(), top: top.offset });
  const first = page.events[0]?.position.offset;
  if (resumed) {
    // What was dropped from the log may have come live since the subscription.
    const { firstHeard } = track;
    const isHeard = firstHeard?.epoch === position.epoch && firstHeard.offset <= position.offset + 1;
    if (first === position.offset + 1 || isHeard) return { track, tail, position, gap, resumed };
  } else if (first !== undefined) {
    const isWhole = first === 1 || wish === "earliest";
    const begin = { ...top, offset: first - 1 };
    return { track, tail, position: begin, gap: isWhole ? gap : "trimmed", resumed };
  }
  const lost = page.position.epoch === top.epoch ? "trimmed" : "epoch";
  return { track, tail, position: top, gap: lost, resumed: false };
}

/** The track begins where that was found. `isNow`: the client has asked for nothing that was before. */
export function takePlace({ track, tail, position, gap }: FoundStart, isNow: boolean): void {
  const { firstHeard } = track;
  const isEarlier =
    firstHeard !== null && firstHeard.epoch === position.epoch && firstHeard.offset <= position.offset;
  // What has come since the subscription belongs to a stream that begins now.
  const own = isNow && gap === null && position.offset === tail.position.offset && tail.ending === null;
  track.position = own && isEarlier ? { ...position, offset: firstHeard.offset - 1 } : position;
  if (track.position.offset >= tail.position.offset) track.ended = tail.ending;
  track.replaying = true;
}

/** Whether the client has all of a channel that is complete. */
export function hasAll({ tail, position, resumed }: FoundStart): boolean {
  return tail.ending !== null && resumed && position.offset === tail.position.offset;
}

function isAhead(wish: Wish, channel: string, { position }: Tail): boolean {
  if (typeof wish === "string") return false;
  const entry = entryOf(wish, channel, position.epoch);
  return entry !== null && (entry.epoch !== position.epoch || entry.offset > position.offset);
}
