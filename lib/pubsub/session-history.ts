import { isPassing, RedisSseError, sanitize } from "../errors.js";
import { createLog, printable } from "../log.js";
import { ChannelTrack } from "./channel-track.js";
import type { Position } from "./cursor.js";
import type { EventBatch } from "./event-batch.js";
import type { Ending, HistoryPort, LogPage } from "./history-port.js";
import { createGap, type GapReason, type InboundEvent } from "./inbound-event.js";
import { parseWish } from "./resume.js";
import { batchesOf } from "./page-batches.js";
import type { SessionCursor } from "./session-cursor.js";
import type { CloseReason, SessionEvent, SessionSnapshot } from "./session-state.js";
import { findStarts, hasAll, type FoundStart, type StartSource } from "./stream-start.js";
import type { Interruption } from "./hub-member.js";
import type { ChannelLog } from "./transport.js";

/** The session, as its history sees it. */
export interface HistoryOwner {
  snapshot(): SessionSnapshot;
  dispatch(event: SessionEvent): void;
  end(reason: CloseReason, fault: RedisSseError): void;
}

/** Where events go that are the next. */
export interface HistoryOutput {
  /** Writes an event, or lets it wait for the client. */
  emit(event: InboundEvent): void;
  /** The same of events that follow one another. */
  emitAll(batch: EventBatch): void;
  /** What waits here has grown or shrunk. */
  held(): void;
}

export interface SessionHistoryOptions {
  readonly context: HistoryContext;
  readonly log: (channel: string) => ChannelLog;
  /** Passes on what has come live so far. */
  readonly flush: () => void;
  readonly cursor: SessionCursor;
  readonly owner: HistoryOwner;
}

/** What the service gives the histories of its sessions. */
export interface HistoryContext {
  readonly history: HistoryPort;
  readonly settings: { readonly maxReplayEvents: number; readonly maxBufferedBytes: number };
  readonly onGap: (reason: GapReason, channels: readonly string[]) => void;
}

/** What a session tells its client when it begins. */
export interface Beginning {
  /** The client said where it was, and gets everything since. */
  readonly recovered: boolean;
  readonly gaps: readonly InboundEvent[];
}

const log = createLog("history");

const NONE: ReadonlyMap<string, ChannelTrack> = new Map();

/**
 * The channels of one session that have a history: each event once, in order and without a hole, or a gap that is
 * told. Live events are compared with how far the session has come; whatever is missing is read from the log,
 * before anything newer is sent.
 *
 * Nothing has to be kept for that. An event that comes while the session is behind is in the log, and is read there
 * in its turn: a page at a time, as fast as the client takes it.
 */
export class SessionHistory {
  readonly #options: SessionHistoryOptions;
  /** Sessions without a history are many, and need no map. */
  #tracks: ReadonlyMap<string, ChannelTrack> = NONE;
  #output!: HistoryOutput;
  #running = false;
  #resume: (() => void) | null = null;

  constructor(options: SessionHistoryOptions) {
    this.#options = options;
  }

  /** Where events go. Called once, before anything else. */
  writeTo(output: HistoryOutput): void {
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
    return this.#nextBehind() !== undefined;
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
  expect(channels: readonly string[]): readonly ChannelTrack[] {
    const tracks = channels
      .filter((channel) => this.#options.context.history.keeps(channel))
      .map((channel) => new ChannelTrack(channel));
    if (tracks.length > 0) {
      this.#tracks = new Map([...this.#tracks, ...tracks.map((track) => [track.channel, track] as const)]);
    }
    return tracks;
  }

  forget(channel: string): void {
    if (!this.#tracks.has(channel)) return;
    this.#tracks = new Map([...this.#tracks].filter(([name]) => name !== channel));
    this.#options.cursor.delete(channel);
  }

  /**
   * The channels are subscribed: finds where the session begins in each. Rejects with `COMPLETED` when the client
   * has had all there will ever be, or with a fault of Redis.
   */
  async begin(channels: readonly string[], lastEventId: string | undefined): Promise<Beginning> {
    const wish = parseWish(lastEventId);
    const tracks = channels.flatMap((channel) => this.#tracks.get(channel) ?? []);
    const starts = await findStarts(tracks, wish, this.#source);
    // What has come since the subscription says where a stream begins that begins now.
    this.#options.flush();
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
    for (const [reason, names] of gaps) this.#options.context.onGap(reason, names);
    return {
      recovered: wish !== "now" && gaps.size === 0 && tracks.length > 0,
      gaps: Array.from(gaps, ([reason, names]) => createGap(names, reason)),
    };
  }

  /**
   * One more channel is subscribed, of a session that is open: it begins with what comes now. Does nothing for one
   * that was taken away meanwhile, also when it was added anew since.
   */
  async join(track: ChannelTrack): Promise<void> {
    if (this.#tracks.get(track.channel) !== track) return;
    const [start] = await findStarts([track], "now", this.#source);
    this.#options.flush();
    if (start === undefined || this.#tracks.get(track.channel) !== track) return;
    if (start.gap !== null) {
      this.#options.cursor.set(track.channel, start.position);
      this.#tellGap(track.channel, start.gap, start.position);
    }
    this.#place(start, true);
    if (track.behind) this.#tell("fell-behind");
  }

  /** Whether a live event goes to the client now: it has not had it, and has all before it. */
  admit(event: InboundEvent): boolean {
    const track = this.#tracks.get(event.channel);
    if (track === undefined) return true;
    if (!track.behind) {
      const verdict = track.judge(event);
      if (verdict === "pass") this.#advance(track, event);
      // Of a channel that has ended nothing is missing.
      if (verdict !== "hole" || track.ended !== null) return verdict === "pass";
      this.#fallBehind(track);
    }
    // A quarter of what may wait is for live events that wait for those before them.
    const maxHeldBytes = this.#options.context.settings.maxBufferedBytes / 4;
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
    if (run === null || run.first !== position.offset + 1 || run.epoch !== position.epoch) return false;
    this.#advance(track, batch.last);
    return true;
  }

  /** The connection was lost and is back: whatever was missed is in the log, but for what never was in one. */
  interrupted(interruptions: readonly Interruption[]): void {
    const gone: string[] = [];
    for (const { channel, unlogged, rolledBackTo } of interruptions) {
      const track = this.#tracks.get(channel);
      if (track === undefined || unlogged) gone.push(channel);
      if (track === undefined) continue;
      this.#fallBehind(track);
      if (rolledBackTo !== null) this.#rollBack(track, rolledBackTo);
    }
    if (gone.length > 0) {
      this.#options.context.onGap("interrupted", gone);
      this.#output.emit(createGap(gone, "interrupted"));
    }
    this.run();
  }

  /** Reads what is missing, or goes on with it: the client takes events again, or the log may be read again. */
  run(): void {
    this.#resume?.();
    if (this.#running || !this.#open || !this.behind) return;
    this.#running = true;
    void this.#runToEnd();
  }

  /** Gives up what is in a log as well, and is read there in its turn. */
  relieve(): void {
    for (const track of this.#tracks.values()) track.forgetLogged();
  }

  /** The session closes: whoever waits here goes on, and sees it; what waits is not needed any more. */
  stop(): void {
    this.#tracks = NONE;
    this.#resume?.();
  }

  /** Never rejects. */
  async #runToEnd(): Promise<void> {
    let caughtUp = false;
    try {
      caughtUp = await this.#catchUp();
    } catch (error) {
      this.#fail(sanitize(error));
    }
    this.#running = false;
    if (!caughtUp || !this.#open) return;
    // Between the last look and now another may have fallen behind.
    if (this.behind) this.run();
    else this.#tell("caught-up");
  }

  #place({ track, tail, position, gap }: FoundStart, isNow: boolean): void {
    const { firstHeard } = track;
    const isEarlier =
      firstHeard !== null && firstHeard.epoch === position.epoch && firstHeard.offset <= position.offset;
    // What has come since the subscription belongs to a stream that begins now.
    const own = isNow && gap === null && position.offset === tail.position.offset && tail.ending === null;
    track.position = own && isEarlier ? { ...position, offset: firstHeard.offset - 1 } : position;
    this.#options.cursor.set(track.channel, track.position);
    if (track.position.offset >= tail.position.offset) track.ended = tail.ending;
    track.replaying = true;
    this.#settle(track);
  }

  #advance(track: ChannelTrack, { position, ending }: InboundEvent): void {
    if (position !== undefined) track.position = position;
    if (ending !== undefined) track.ended = ending;
  }

  #fallBehind(track: ChannelTrack): void {
    if (track.behind || track.ended !== null) return;
    track.behind = true;
    track.replaying = false;
    this.#tell("fell-behind");
  }

  #nextBehind(except?: ReadonlySet<ChannelTrack>): ChannelTrack | undefined {
    for (const track of this.#tracks.values()) {
      if (track.behind && track.position !== null && !except?.has(track)) return track;
    }
    return undefined;
  }

  /** Answers whether nothing is missing any more; false when it has to wait, or the session is closing. */
  async #catchUp(): Promise<boolean> {
    const { history: port } = this.#options.context;
    // Those whose logs cannot be read now do not keep the others waiting.
    const stuck = new Set<ChannelTrack>();
    for (let track = this.#nextBehind(stuck); track !== undefined; track = this.#nextBehind(stuck)) {
      const { channel } = track;
      await this.#writable();
      if (!this.#open) return false;
      const from = track.position!;
      const asked = port.now();
      const { since, tail } = this.#log(channel);
      let page: LogPage;
      try {
        page = await port.read(channel, from, { since, top: tail?.position.offset ?? 0 });
      } catch (error) {
        const fault = sanitize(error);
        log("cannot read %s: %s", printable(channel), fault.message);
        if (!isPassing(fault)) {
          this.#fail(fault);
          return false;
        }
        stuck.add(track);
        continue;
      }
      if (!this.#open) return false;
      if (this.#tracks.get(channel) !== track) continue;
      this.#log(channel).note(page);
      await this.#apply(track, page);
      if (!this.#open) return false;
      if (this.#tracks.get(channel) !== track) continue;
      this.#settle(track);
      // Not subscribed just now, or the log stands where it stood before: no read can tell what is missing. It is told
      // when that has changed.
      const wentBack = tail !== null && page.readAt > asked && page.position.offset < tail.position.offset;
      const isUnknown = this.#log(channel).since === Infinity || wentBack;
      if (track.behind && track.position === from && isUnknown) stuck.add(track);
    }
    return stuck.size === 0;
  }

  async #apply(track: ChannelTrack, page: LogPage): Promise<void> {
    const from = track.position!;
    const top = page.position;
    const isFresh = page.readAt > this.#log(track.channel).since;
    if (top.epoch !== from.epoch) {
      // What is in the new log has come after all that the client has.
      if (isFresh) this.#skip(track, { epoch: top.epoch, offset: 0 }, "epoch");
      return;
    }
    const first = page.events[0];
    if (first === undefined) {
      if (!isFresh) return;
      if (top.offset > from.offset) this.#skip(track, top, "trimmed", page.ending);
      // The server has lost its newest events, and goes on from before them.
      if (top.offset < from.offset) this.#skip(track, top, "future", page.ending);
      return;
    }
    if (!track.replaying && top.offset - from.offset > this.#options.context.settings.maxReplayEvents) {
      this.#skip(track, top, "limit", page.ending);
      return;
    }
    track.replaying = true;
    if (first.position.offset > from.offset + 1) {
      this.#skip(track, { ...top, offset: first.position.offset - 1 }, "trimmed");
    }
    for (const batch of batchesOf(page)) {
      if (isStalled(this.#options.owner.snapshot())) await this.#writable();
      if (!this.#open || this.#tracks.get(track.channel) !== track) return;
      this.#emitRest(track, batch);
    }
  }

  /** What the client has not had of a batch. */
  #emitRest(track: ChannelTrack, batch: EventBatch): void {
    const { offset } = track.position!;
    if (batch.run !== null && batch.run.first > offset) {
      this.#advance(track, batch.last);
      return this.#output.emitAll(batch);
    }
    for (const event of batch.events) {
      if (event.position!.offset <= track.position!.offset) continue;
      this.#advance(track, event);
      this.#output.emit(event);
    }
  }

  /** Goes over what the client will not get, and tells it. */
  #skip(track: ChannelTrack, position: Position, reason: GapReason, ending: Ending | null = null): void {
    track.position = position;
    if (ending !== null) track.ended = ending;
    this.#tellGap(track.channel, reason, position, ending);
  }

  #tellGap(channel: string, reason: GapReason, position: Position, ending: Ending | null = null): void {
    this.#options.context.onGap(reason, [channel]);
    const gap = createGap([channel], reason, channel);
    this.#output.emit({ ...gap, position, ...(ending !== null && { ending }) });
  }

  /** The server has lost events that the client has, and has put others in their places: those are to come. */
  #rollBack(track: ChannelTrack, to: Position): void {
    const { position } = track;
    if (track.ended !== null || position?.epoch !== to.epoch || position.offset <= to.offset) return;
    track.forgetLogged();
    this.#skip(track, to, "future");
  }

  /** Passes on what was put aside and follows; with all there is, the track is not behind any more. */
  #settle(track: ChannelTrack): void {
    const waitingBytes = track.waitingBytes;
    this.#passAll(track);
    if (track.waitingBytes !== waitingBytes) this.#output.held();
  }

  #passAll(track: ChannelTrack): void {
    this.#passHeld(track);
    const { tail } = this.#log(track.channel);
    const { epoch, offset } = track.position!;
    const isCurrent = tail !== null && tail.position.epoch === epoch && offset >= tail.position.offset;
    track.behind = !isCurrent && track.ended === null;
    if (track.behind) return;
    // What is left was in no log: somebody has made its place up.
    track.forgetLogged();
    this.#passHeld(track);
  }

  #passHeld(track: ChannelTrack): void {
    for (let event = track.next(); event; event = track.next()) {
      this.#advance(track, event);
      this.#output.emit(event);
    }
  }

  #log(channel: string): ChannelLog {
    return this.#options.log(channel);
  }

  /** Resolves when the client takes events, or the session is not open any more. */
  async #writable(): Promise<void> {
    while (this.#open && isStalled(this.#options.owner.snapshot())) {
      await new Promise<void>((resolve) => (this.#resume = resolve));
      this.#resume = null;
    }
  }

  #tell(type: "fell-behind" | "caught-up"): void {
    if (this.#open) this.#options.owner.dispatch({ type });
  }

  /** The log cannot be read, and not because Redis is away. */
  #fail(fault: RedisSseError): void {
    this.#options.owner.end("redis-lost", fault);
  }

  get #source(): StartSource {
    const { context, log } = this.#options;
    return { port: context.history, log, maxReplayEvents: context.settings.maxReplayEvents };
  }

  get #open(): boolean {
    return this.#options.owner.snapshot().state === "subscribed";
  }
}

function isStalled(snapshot: SessionSnapshot): boolean {
  return snapshot.state === "subscribed" && snapshot.flow === "stalled";
}
