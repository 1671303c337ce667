import { setMaxListeners } from "node:events";

import { delay } from "../deadline.js";
import { RedisSseError } from "../errors.js";
import { CatchUp, type ReplayContext, type ReplayOutput, type ReplayOwner, type Tracks } from "./catch-up.js";
import { ChannelReplay } from "./channel-replay.js";
import { haveOtherStamps, parseWish } from "../sse/event-id.js";
import type { EventBatch } from "../events/event-batch.js";
import type { Interruption } from "./log-head.js";
import { createBroken, type Ending, type InboundEvent } from "../events/inbound-event.js";
import { createGap, type GapReason } from "../events/gap.js";
import { findStarts, hasAll, takePlace, type FoundStart, type StartSource } from "./start-position.js";
import type { SessionCursor } from "./session-cursor.js";

/** What a session tells its client when it begins. */
export interface Beginning {
  /** The client said where it was, and gets everything since. */
  readonly recovered: boolean;
  /** The gaps, then `BROKEN` for each channel whose end is behind its gap. */
  readonly gaps: readonly InboundEvent[];
}

/** How long a server that was replaced may still answer. A node of a cluster learns of it with the next message of another. */
export const CONFIRM_MS = 1_000;

const NONE: ReadonlyMap<string, ChannelReplay> = new Map();

/**
 * The channels of one session that have a history: each event once, in order and without a hole, or a gap that is
 * told. Live events are compared with how far the session has come; whatever is missing is read from the log,
 * before anything newer is sent.
 *
 * Nothing has to be kept for that. An event that comes while the session is behind is in the log, and is read there
 * in its turn (`CatchUp`).
 */
export class Replay implements Tracks {
  readonly #context: ReplayContext;
  readonly #owner: ReplayOwner;
  readonly #cursor: SessionCursor;
  /** Sessions without a history are many, and need no map. */
  #tracks: ReadonlyMap<string, ChannelReplay> = NONE;
  #output!: ReplayOutput;
  /** There once a channel has a track. */
  #catchUp: CatchUp | null = null;
  #pausing: AbortController | null = null;
  #stopped = false;

  constructor(context: ReplayContext, owner: ReplayOwner, cursor: SessionCursor) {
    this.#context = context;
    this.#owner = owner;
    this.#cursor = cursor;
  }

  /** Where events go. Called once, before anything else. */
  writeTo(output: ReplayOutput): void {
    this.#output = output;
  }

  /** What waits for events before it. */
  get waitingBytes(): number {
    let bytes = 0;
    for (const track of this.#tracks.values()) bytes += track.waitingBytes;
    return bytes;
  }

  /** Whether any of the session's channels has a history. */
  get hasTracks(): boolean {
    return this.#tracks !== NONE;
  }

  get behind(): boolean {
    return this.nextBehind() !== undefined;
  }

  /**
   * Whether events of any other channel are missing. A channel that is being added does not count: it begins with new
   * events.
   */
  isBehindBeside(channel: string): boolean {
    const own = this.#tracks.get(channel);
    return this.nextBehind(own && new Set([own])) !== undefined;
  }

  /** How the session's channels have ended, when all `channels` of it have; `null` otherwise. */
  endingOf(channels: ReadonlySet<string>): Ending | null {
    let ending: Ending | null = channels.size === 0 ? null : "completed";
    for (const channel of channels) {
      const own = this.#tracks.get(channel)?.ended ?? null;
      if (own === null) return null;
      if (own === "broken") ending = own;
    }
    return ending;
  }

  /** Before the channels are subscribed: events may come from then on. Answers the tracks of those with a history. */
  expect(channels: readonly string[]): readonly ChannelReplay[] {
    const tracks = channels
      .filter((channel) => this.#context.history.keeps(channel))
      .map((channel) => new ChannelReplay(channel));
    if (tracks.length > 0) {
      this.#catchUp ??= new CatchUp(this.#context, this.#owner, this.#output, this);
      this.#tracks = new Map([...this.#tracks, ...tracks.map((track) => [track.channel, track] as const)]);
    }
    return tracks;
  }

  forget(channel: string): void {
    if (!this.#tracks.has(channel)) return;
    this.#tracks = new Map([...this.#tracks].filter(([name]) => name !== channel));
    this.#cursor.delete(channel);
  }

  /**
   * The channels are subscribed: finds where the session begins in each. Rejects with `COMPLETED` when the client
   * has had all there will ever be, or with a fault of Redis.
   */
  async begin(channels: readonly string[], lastEventId: string | undefined): Promise<Beginning> {
    const wish = parseWish(lastEventId, channels);
    const tracks = channels.flatMap((channel) => this.#tracks.get(channel) ?? []);
    const starts = await findStarts(tracks, wish, this.#source);
    // What has come since the subscription says where a stream begins that begins now.
    this.#owner.flushTurn();
    if (starts.length === channels.length && starts.every(hasAll)) {
      throw new RedisSseError("COMPLETED", "this stream has ended");
    }
    const gaps = new Map<GapReason, string[]>();
    for (const start of starts) {
      this.#place(start, wish === "now");
      if (start.gap === null) continue;
      const told = gaps.get(start.gap);
      if (told === undefined) gaps.set(start.gap, [start.track.channel]);
      else told.push(start.track.channel);
    }
    for (const [reason, names] of gaps) this.#context.onGap(reason, names);
    // The last event of a channel that was broken off is behind the gap, and is told all the same.
    const broken = starts.filter(({ gap, track }) => gap !== null && track.ended === "broken");
    return {
      recovered: wish !== "now" && gaps.size === 0 && tracks.length > 0,
      gaps: [
        ...Array.from(gaps, ([reason, names]) => createGap(names, reason)),
        ...broken.map(({ track }) => createBroken(track.channel)),
      ],
    };
  }

  /**
   * One more channel is subscribed, of a session that is open: it begins with what comes now. Does nothing for one
   * that was taken away meanwhile, also when it was added anew since.
   */
  async join(track: ChannelReplay): Promise<void> {
    if (!this.isCurrent(track)) return;
    const [start] = await findStarts([track], "now", this.#source);
    this.#owner.flushTurn();
    if (start === undefined || !this.isCurrent(track)) return;
    // A gap carries its place: if the client is slow, the gap waits, and the place must wait with it.
    if (start.gap !== null) this.#catchUp!.tellGap(track.channel, start.gap, start.position);
    this.#place(start, true, start.gap !== null);
    if (track.behind) this.#tellBehind();
  }

  /** Whether a live event goes to the client now: it has not had it, and has all before it. */
  admit(event: InboundEvent): boolean {
    const track = this.#tracks.get(event.channel);
    if (track === undefined) return true;
    const isAnew = track.ended !== null && event.position !== undefined;
    if (isAnew && event.position.epoch !== track.position!.epoch) track.reopen();
    if (!track.behind) {
      const verdict = track.judge(event);
      if (verdict === "pass") track.advance(event);
      // Of a channel that has ended nothing is missing.
      if (verdict !== "hole" || track.ended !== null) return verdict === "pass";
      this.#fallBehind(track);
    }
    // A quarter of what may wait is for live events that wait for those before them.
    const maxHeldBytes = this.#context.settings.maxBufferedBytes / 4;
    track.hold(event, maxHeldBytes - (this.waitingBytes - track.waitingBytes));
    this.#output.held();
    return false;
  }

  /** Whether a whole batch goes to the client now. False also where its events have to be judged one by one. */
  admitAll(batch: EventBatch): boolean {
    if (this.#tracks === NONE) return true;
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

  /** The connection was lost and is back: whatever was missed is in the log, but for what never was in one. */
  interrupted(interruptions: readonly Interruption[]): void {
    const gone: string[] = [];
    for (const { channel, unlogged } of interruptions) {
      const track = this.#tracks.get(channel);
      if (track === undefined || unlogged) gone.push(channel);
      if (track === undefined) continue;
      // A channel that has ended may have been begun anew meanwhile.
      if (track.ended !== null) track.behind = true;
      else this.#fallBehind(track);
    }
    if (gone.length > 0) {
      this.#context.onGap("interrupted", gone);
      this.#output.emit(createGap(gone, "interrupted"));
    }
    this.run();
  }

  /** Reads what is missing, or goes on with it: the client takes events again, or the log may be read again. */
  run(): void {
    this.#catchUp?.run();
  }

  /** Renews the time in the places of channels without a log: a client whose id has too old a time gets a gap. */
  renewPlaces(): void {
    for (const track of this.#tracks.values()) {
      const { tail } = this.#owner.log(track.channel);
      if (track.behind || track.position?.epoch !== "" || tail?.position.epoch !== "") continue;
      track.position = tail.position;
      this.#cursor.renew(track.channel, tail.position);
    }
  }

  /** Gives up what is in a log as well, and is read there in its turn. */
  relieve(): void {
    for (const track of this.#tracks.values()) track.forgetLogged();
  }

  /** The session closes: what waits is not needed any more. */
  stop(): void {
    this.#tracks = NONE;
    this.#stopped = true;
    this.#pausing?.abort();
    this.#catchUp?.stop();
  }

  nextBehind(except?: ReadonlySet<ChannelReplay>): ChannelReplay | undefined {
    for (const track of this.#tracks.values()) {
      if (track.behind && track.position !== null && !except?.has(track)) return track;
    }
    return undefined;
  }

  isCurrent(track: ChannelReplay): boolean {
    return this.#tracks.get(track.channel) === track;
  }

  /** As `Tracks.pause()`. */
  async pause(): Promise<void> {
    if (this.#stopped) return;
    if (this.#pausing === null) {
      this.#pausing = new AbortController();
      // A session may pause for many channels at once.
      setMaxListeners(0, this.#pausing.signal);
    }
    await delay(this.#context.clock, CONFIRM_MS, this.#pausing.signal);
  }

  #place(start: FoundStart, isNow: boolean, hasOwnPlace = false): void {
    const { track } = start;
    takePlace(start, isNow);
    if (!hasOwnPlace) this.#cursor.set(track.channel, track.position!);
    this.#catchUp!.passWaiting(track);
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
