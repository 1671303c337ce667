import { EARLIEST, placeBefore, type Wish } from "../sse/event-id.js";
import type { ChannelReplay } from "./channel-replay.js";
import { confirmStart, decideStart, isLost, limitStart, type Start } from "./gap-rules.js";
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

/** Where a stream starts in one channel, by what its log was seen to hold. */
export interface FoundStart extends Start {
  readonly track: ChannelReplay;
  readonly tail: Tail;
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
    const start = decideStart(track.channel, wish, tail, { budget, memoryMs });
    if (start.resumed) budget -= tail.position.offset - start.position.offset;
    return { track, tail, state, start };
  });
  const found = await Promise.all(wished.map((each) => verify(each, wish, source)));
  return found.map(({ track, tail, ...start }) => {
    const limited = limitStart(start, tail.position, budget);
    if (!start.resumed) budget -= tail.position.offset - limited.position.offset;
    return { track, tail, ...limited };
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
  const { channel, firstHeard } = track;
  const top = tail.position;
  if (tail.isInvalid || start.position.offset >= top.offset) return { track, tail, ...start };
  // Clients that reconnect together share one read. Later clients use the page that was read for the first one.
  const found =
    state ??
    (await port.peek(channel, start.position, top)) ??
    (await port.tail(channel, log(channel).since));
  return { track, tail, ...confirmStart(start, top, found, firstHeard, wish === EARLIEST) };
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
