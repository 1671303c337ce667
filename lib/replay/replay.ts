import { setMaxListeners } from "node:events";

import { when, type Awaitable } from "../awaitable.js";
import { delay } from "../deadline.js";
import { RedisSseError } from "../errors.js";
import type { Admission } from "./admission.js";
import {
  CatchUp,
  passWaiting,
  type ReplayContext,
  type ReplayOutput,
  type ReplayOwner,
  type Tracks,
} from "./catch-up.js";
import { ChannelMap } from "./channel-map.js";
import { ChannelReplay } from "./channel-replay.js";
import { haveOtherStamps } from "../sse/event-id.js";
import type { EventBatch } from "../events/event-batch.js";
import type { Tail } from "./history-port.js";
import type { Interruption } from "./log-head.js";
import type { Ending, InboundEvent } from "../events/inbound-event.js";
import { createGap } from "../events/gap.js";
import {
  findStarts,
  gapsOf,
  hasAll,
  takePlace,
  type FoundStart,
  type StartSource,
} from "./start-position.js";
import type { SessionCursor } from "./session-cursor.js";
import { NO_RESUME, parseLastEventId, type ResumeLimit, type RequestedStart } from "./last-event-id.js";

/** The start of a stream: whether the client resumed, and the gaps that it gets. */
export interface Beginning {
  /** Whether the client sent its position and gets all events after it. */
  readonly recovered: boolean;
  /** The gaps, and then `BROKEN` for each broken channel that ended within its gap. */
  readonly gaps: readonly InboundEvent[];
}

/** Where the client, and the application, want the stream to start. */
export interface StartRequest {
  readonly lastEventId?: string | undefined;
  readonly from?: "now" | "earliest" | undefined;
  /** `false`: the client may not resume. All other policies are in the `Admission`. */
  readonly resume?: unknown;
}

/**
 * How long a replaced master may still answer. A cluster node detects that it was replaced when the next message of another
 * node arrives.
 */
export const CONFIRM_MS = 1_000;

/**
 * The channels of one session that have a history. The client gets each event once and in order. If events are lost, it gets
 * a gap. `Replay` compares each live event with the position of the session. Missing events are read from the history before
 * newer events are sent.
 *
 * Live events that arrive while the session is behind may be dropped. `CatchUp` reads them from the history later.
 */
export class Replay implements Tracks {
  readonly #context: ReplayContext;
  readonly #owner: ReplayOwner;
  readonly #cursor: SessionCursor;
  /** Set if the ids of the stream have a token that limits how far back the client may resume. */
  readonly #admission: Admission | null;
  /** `null` if the session has no channel with a history. */
  #tracks: ChannelMap<ChannelReplay> | null = null;
  #output!: ReplayOutput;
  /** Created when the session is first behind. */
  #catchUp: CatchUp | null = null;
  #pausing: AbortController | null = null;
  #stopped = false;

  constructor(
    context: ReplayContext,
    owner: ReplayOwner,
    cursor: SessionCursor,
    admission: Admission | null = null,
  ) {
    this.#admission = admission;
    this.#context = context;
    this.#owner = owner;
    this.#cursor = cursor;
  }

  /** Sets the output of events. Called once, before all other methods. */
  writeTo(output: ReplayOutput): void {
    this.#output = output;
  }

  /** Bytes of live events that wait for earlier events. */
  get waitingBytes(): number {
    let bytes = 0;
    for (const track of this.#all) bytes += track.waitingBytes;
    return bytes;
  }

  /** Whether any of the session's channels has a history. */
  get hasTracks(): boolean {
    return this.#tracks !== null;
  }

  get behind(): boolean {
    return this.nextBehind() !== undefined;
  }

  /**
   * Whether the client is missing events of any other channel. A channel that is being added does not count, because it
   * starts with new events.
   */
  isBehindBeside(channel: string): boolean {
    const own = this.#tracks?.get(channel);
    return this.nextBehind(own && new Set([own])) !== undefined;
  }

  /** How the channels of the session have ended. `null` if any of them has not ended. */
  endingOf(channels: ReadonlySet<string>): Ending | null {
    let ending: Ending | null = channels.size === 0 ? null : "completed";
    for (const channel of channels) {
      const own = this.#tracks?.get(channel)?.ended ?? null;
      if (own === null) return null;
      if (own === "broken") ending = own;
    }
    return ending;
  }

  /**
   * Creates a track for each channel with a history. Called before the channels are subscribed, because events can arrive
   * directly after that.
   */
  expect(channels: readonly string[]): void {
    for (const channel of channels) {
      if (!this.#context.history.keeps(channel)) continue;
      (this.#tracks ??= new ChannelMap()).set(new ChannelReplay(channel));
    }
  }

  forget(channel: string): void {
    if (!this.#tracks?.delete(channel)) return;
    this.#cursor.delete(channel);
    this.#admission?.forget(channel);
  }

  /**
   * Finds the start position of the session in each channel, after the channels are subscribed. Rejects with `COMPLETED` if
   * all channels have ended and the client has all their events. Also rejects with a Redis error.
   */
  begin(channels: readonly string[], { lastEventId, from, resume }: StartRequest): Awaitable<Beginning> {
    const limit = this.#admission?.limitOf(lastEventId, channels) ?? (resume === false ? NO_RESUME : null);
    const requested = parseLastEventId(lastEventId, channels, from, limit);
    const starts = findStarts(this.#tracksOf(channels), requested, this.#source);
    return when(starts, (found) => this.#begin(found, channels, requested, limit));
  }

  #begin(
    starts: readonly FoundStart[],
    channels: readonly string[],
    requested: RequestedStart,
    limit: ResumeLimit | null,
  ): Beginning {
    // Events that arrived since the subscription decide the start position of a stream of new events.
    this.#owner.flushTurn();
    if (starts.length === channels.length && starts.every(hasAll)) {
      throw new RedisSseError("COMPLETED", "this stream has ended");
    }
    for (const start of starts) this.#place(start, { isNow: requested === "now", limit });
    const isWhole = starts.every(({ gap }) => gap === null);
    return {
      recovered: requested !== "now" && isWhole && starts.length > 0,
      gaps: isWhole ? [] : gapsOf(starts, this.#context.onGap),
    };
  }

  /**
   * Starts the tracks of channels that were added to an open session. The tracks start with new events. Does nothing for a
   * channel that is removed during the call, even if it is then added again.
   */
  join(channels: readonly string[]): Awaitable<void> {
    return when(findStarts(this.#tracksOf(channels), "now", this.#source), (starts) => {
      this.#owner.flushTurn();
      for (const start of starts) this.#join(start);
    });
  }

  #join(start: FoundStart): void {
    const { track } = start;
    if (!this.isCurrent(track)) return;
    // The gap carries the start position. If the client is slow, the gap is buffered, and the position waits with it.
    if (start.gap !== null) this.#reader.tellGap(track.channel, start.gap, start.position);
    this.#place(start, { isNow: true, hasOwnPlace: start.gap !== null });
    if (track.behind) this.#tellBehind();
  }

  /** Whether a live event can go to the client now. The client must have all earlier events, and not this one. */
  admit(event: InboundEvent): boolean {
    const track = this.#tracks?.get(event.channel);
    if (track === undefined) return true;
    const isAnew = track.ended !== null && event.position !== undefined;
    if (isAnew && event.position.epoch !== track.position!.epoch) track.reopen();
    if (!track.behind) {
      const verdict = track.judge(event);
      if (verdict === "pass") track.advance(event);
      // After the end of a channel, no events are missing.
      if (verdict !== "hole" || track.ended !== null) return verdict === "pass";
      this.#fallBehind(track);
    }
    // A quarter of the buffer limit is for live events that wait for earlier events.
    const maxHeldBytes = this.#context.settings.maxBufferedBytes / 4;
    track.hold(event, maxHeldBytes - (this.waitingBytes - track.waitingBytes));
    this.#output.held();
    return false;
  }

  /** Whether a whole batch can go to the client now. False also if its events must be judged one by one. */
  admitAll(batch: EventBatch): boolean {
    if (this.#tracks === null) return true;
    const track = this.#tracks.get(batch.channel);
    if (track === undefined) return true;
    if (track.behind) return false;
    if (batch.isPlain) return true;
    const { run } = batch;
    const position = track.position!;
    if (run === null || run.first !== position.offset + 1) return false;
    if (run.epoch !== position.epoch && position.epoch !== "") return false;
    if (haveOtherStamps(position.stamp, run.previousStamp)) return false;
    track.advance(batch.last);
    return true;
  }

  /**
   * The connection was lost for some time. Missed events are read from the history. If some of them are in no history, the
   * client gets a gap.
   */
  interrupted(interruptions: readonly Interruption[]): void {
    const gone: string[] = [];
    for (const { channel, unlogged } of interruptions) {
      const track = this.#tracks?.get(channel);
      if (track === undefined || unlogged) gone.push(channel);
      if (track === undefined) continue;
      // An ended channel may have started again during the interruption.
      if (track.ended !== null) track.behind = true;
      else this.#fallBehind(track);
    }
    if (gone.length > 0) {
      this.#context.onGap("interrupted", gone);
      this.#output.emit(createGap(gone, "interrupted"));
    }
    this.run();
  }

  /** Starts or continues to read missing events. Called when the client reads again, or a failed read can be retried. */
  run(): void {
    if (this.#catchUp !== null || this.behind) this.#reader.run();
  }

  /**
   * Renews the time in positions of channels whose history does not exist yet. A client that reconnects with too old a time
   * gets a gap.
   */
  renewPlaces(): void {
    for (const track of this.#all) {
      const { tail } = this.#owner.log(track.channel);
      if (track.behind || track.position?.epoch !== "" || tail?.position.epoch !== "") continue;
      track.position = tail.position;
      this.#cursor.renew(track.channel, tail.position);
    }
  }

  /** Renews the token if it has a time. */
  renewToken(): void {
    const tailOf = (channel: string): Tail | null => this.#owner.log(channel).tail;
    if (this.#admission?.renew(this.#all, tailOf, this.#cursor)) this.#cursor.untell();
  }

  /** Drops waiting events that are in the history. They are read from there later. */
  relieve(): void {
    for (const track of this.#all) track.forgetLogged();
  }

  /** Called when the session closes. Drops all waiting events. */
  stop(): void {
    this.#tracks = null;
    this.#stopped = true;
    this.#pausing?.abort();
    this.#catchUp?.stop();
  }

  #tracksOf(channels: readonly string[]): readonly ChannelReplay[] {
    return channels.flatMap((channel) => this.#tracks?.get(channel) ?? []);
  }

  nextBehind(except?: ReadonlySet<ChannelReplay>): ChannelReplay | undefined {
    for (const track of this.#all) {
      if (track.behind && track.position !== null && !except?.has(track)) return track;
    }
    return undefined;
  }

  isCurrent(track: ChannelReplay): boolean {
    return this.#tracks?.get(track.channel) === track;
  }

  /** See `Tracks.pause()`. */
  async pause(): Promise<void> {
    if (this.#stopped) return;
    if (this.#pausing === null) {
      this.#pausing = new AbortController();
      // A session may pause for many channels at once.
      setMaxListeners(0, this.#pausing.signal);
    }
    await delay(this.#context.clock, CONFIRM_MS, this.#pausing.signal);
  }

  #place(
    start: FoundStart,
    {
      isNow,
      limit = null,
      hasOwnPlace = false,
    }: {
      readonly isNow: boolean;
      readonly limit?: ResumeLimit | null;
      readonly hasOwnPlace?: boolean;
    },
  ): void {
    const { track, tail } = start;
    takePlace(start, isNow);
    this.#admission?.admit(track.channel, track.position!, tail, limit);
    if (!hasOwnPlace) this.#cursor.set(track.channel, track.position!);
    passWaiting(track, this.#owner, this.#output);
  }

  #fallBehind(track: ChannelReplay): void {
    if (track.behind || track.ended !== null) return;
    track.behind = true;
    track.replaying = false;
    this.#tellBehind();
  }

  #tellBehind(): void {
    if (this.#owner.isOpen) this.#owner.onBehind();
  }

  get #all(): Iterable<ChannelReplay> {
    return this.#tracks?.values() ?? [];
  }

  get #reader(): CatchUp {
    return (this.#catchUp ??= new CatchUp(this.#context, this.#owner, this.#output, this));
  }

  get #source(): StartSource {
    const { history: port, settings } = this.#context;
    return {
      port,
      log: (channel) => this.#owner.log(channel),
      maxReplayEvents: settings.maxReplayEvents,
      pause: () => this.pause(),
    };
  }
}
