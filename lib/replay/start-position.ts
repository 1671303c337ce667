import { whenAll, type Awaitable } from "../awaitable.js";
import { createGap, type GapReason } from "../events/gap.js";
import { createBroken, type InboundEvent } from "../events/inbound-event.js";
import { placeBefore } from "../sse/event-id.js";
import type { ChannelReplay } from "./channel-replay.js";
import { confirmStart, decideStart, isLost, limitStart, type Start } from "./gap-rules.js";
import type { HistoryPort, LogState, Tail } from "./history-port.js";
import type { ChannelLog } from "./log-head.js";
import { EARLIEST, type RequestedStart } from "./last-event-id.js";

/** The parts that `findStarts()` uses to find the state of each history. */
export interface StartSource {
  readonly port: HistoryPort;
  readonly log: (channel: string) => ChannelLog;
  /** The most events that a stream gets at its start from the histories of all its channels. */
  readonly maxReplayEvents: number;
  /** See `Tracks.pause()`. */
  readonly pause: () => Promise<void>;
}

/** How long clients that reconnect together share the state of a history. */
const SHARED_MS = 1_000;

/** Where a stream starts in one channel, and the state of the history that was found. */
export interface FoundStart extends Start {
  readonly track: ChannelReplay;
  readonly tail: Tail;
}

/**
 * Finds the start position of a stream in each of its channels, after they are subscribed. Reads no events, because the
 * client may leave before it reads the first one. Rejects with a Redis error.
 */
export function findStarts(
  tracks: readonly ChannelReplay[],
  requested: RequestedStart,
  source: StartSource,
): Awaitable<readonly FoundStart[]> {
  const logs = tracks.map(({ channel }) => lookAt(channel, requested, source));
  return whenAll(logs, (known) => verifyStarts(known, tracks, requested, source));
}

function verifyStarts(
  logs: readonly KnownLog[],
  tracks: readonly ChannelReplay[],
  requested: RequestedStart,
  source: StartSource,
): Awaitable<readonly FoundStart[]> {
  let budget = source.maxReplayEvents;
  const planned = tracks.map((track, index) => {
    const { tail, state } = logs[index]!;
    const memoryMs = source.port.memoryMs(track.channel);
    const now = state?.at ?? tail.at;
    const start = decideStart(track.channel, requested, tail, { budget, memoryMs, now });
    if (start.resumed) budget -= tail.position.offset - start.position.offset;
    return { track, tail, state, start };
  });
  const verified = planned.map((each) => verify(each, requested, source));
  return whenAll(verified, (found) =>
    found.map(({ track, tail, ...start }) => {
      const limited = limitStart(start, tail.position, budget);
      if (!start.resumed) budget -= tail.position.offset - limited.position.offset;
      return { track, tail, ...limited };
    }),
  );
}

/** What is known about a history. `state` was read just now, and is `null` if no read was needed. */
interface KnownLog {
  readonly tail: Tail;
  readonly state: LogState | null;
}

interface PlannedStart extends KnownLog {
  readonly track: ChannelReplay;
  readonly start: Start;
}

/**
 * Returns the state of a history. Reads it if the known state may be outdated: the position of the client may be ahead of
 * it, or an ended channel may have a new history, because its task was queued again. Reads it also if the time decides.
 */
function lookAt(channel: string, requested: RequestedStart, source: StartSource): Awaitable<KnownLog> {
  const known = source.log(channel).tail;
  const isSure = known !== null && known.ending === null && !known.isInvalid;
  if (isSure && !isAhead(requested, channel, known) && !needsTime(requested))
    return { tail: known, state: null };
  return read(channel, requested, known, source);
}

async function read(
  channel: string,
  requested: RequestedStart,
  known: Tail | null,
  { port, log, pause }: StartSource,
): Promise<KnownLog> {
  // Streams that start together share a read that only tells the time.
  const since =
    needsTime(requested) && known !== null && !isAhead(requested, channel, known) ? 0 : port.now();
  let state = await port.tail(channel, known === null ? log(channel).since : since);
  if (hasLost(state, requested, channel)) {
    const doubtedAt = port.now();
    await pause();
    state = await port.tail(channel, doubtedAt);
  }
  log(channel).note(state);
  return { tail: log(channel).tail ?? state, state };
}

/** Checks whether the history still has all events after the start position. */
function verify(
  planned: PlannedStart,
  requested: RequestedStart,
  source: StartSource,
): Awaitable<FoundStart> {
  const { track, tail, start } = planned;
  if (tail.isInvalid || start.position.offset >= tail.position.offset) return { track, tail, ...start };
  return confirm(planned, requested, source);
}

async function confirm(
  { track, tail, state, start }: PlannedStart,
  requested: RequestedStart,
  { port, log }: StartSource,
): Promise<FoundStart> {
  const { channel, firstHeard } = track;
  const top = tail.position;
  // Clients that reconnect together share one read. Later clients use the page that was read for the first one.
  let found =
    state ??
    (await port.peek(channel, start.position, top)) ??
    (await port.tail(channel, log(channel).since, start.resumed ? SHARED_MS : 0));
  // The events since that read may have displaced the next event of the client.
  const displaced = Math.max(0, top.offset - found.position.offset);
  if (displaced > 0 && start.position.offset + 1 < found.first + displaced) {
    found = await port.tail(channel, port.now());
  }
  return { track, tail, ...confirmStart(start, top, found, firstHeard, requested === EARLIEST) };
}

/** Sets the start position of a track. `isNow` is true if the client asked only for new events. */
export function takePlace({ track, tail, position, gap }: FoundStart, isNow: boolean): void {
  const { firstHeard } = track;
  const isEarlier =
    firstHeard !== null && firstHeard.epoch === position.epoch && firstHeard.offset <= position.offset;
  // A stream of new events includes the events that arrived since the subscription.
  const own = isNow && gap === null && position.offset === tail.position.offset && tail.ending === null;
  track.position = own && isEarlier ? placeBefore(firstHeard) : position;
  // The history did not exist, and its first event has arrived since then.
  if (position.epoch === "" && firstHeard?.offset === 1) {
    track.position = { epoch: firstHeard.epoch, offset: 0 };
  }
  if (track.position.offset >= tail.position.offset) track.ended = tail.ending;
  track.replaying = true;
}

/** Returns one gap for each reason, and counts it. */
export function gapsOf(
  starts: readonly FoundStart[],
  onGap: (reason: GapReason, channels: readonly string[]) => void,
): readonly InboundEvent[] {
  const channels = new Map<GapReason, string[]>();
  for (const { gap, track } of starts) {
    if (gap === null) continue;
    const others = channels.get(gap);
    if (others === undefined) channels.set(gap, [track.channel]);
    else others.push(track.channel);
  }
  for (const [reason, names] of channels) onGap(reason, names);
  // A broken channel may have ended within its gap. The client still gets its last event, `BROKEN`.
  const broken = starts.filter(({ gap, track }) => gap !== null && track.ended === "broken");
  return [
    ...Array.from(channels, ([reason, names]) => createGap(names, reason)),
    ...broken.map(({ track }) => createBroken(track.channel)),
  ];
}

/** Whether the channel has ended, and the client has all its events. */
export function hasAll({ tail, position, resumed }: FoundStart): boolean {
  return tail.ending !== null && resumed && position.offset === tail.position.offset;
}

/** Whether the history has lost the event at the position of the client. */
function hasLost({ position }: Tail, requested: RequestedStart, channel: string): boolean {
  if (typeof requested === "string") return false;
  const entry = requested.find(channel, position.epoch);
  return entry !== null && entry.epoch === position.epoch && isLost(entry, position);
}

/** Whether the time of Redis decides if the client may resume. */
function needsTime(requested: RequestedStart): boolean {
  return typeof requested !== "string" && requested.limit !== null && requested.limit.validUntil !== Infinity;
}

function isAhead(requested: RequestedStart, channel: string, { position }: Tail): boolean {
  if (typeof requested === "string") return false;
  const entry = requested.find(channel, position.epoch);
  return entry !== null && (entry.epoch !== position.epoch || isLost(entry, position));
}
