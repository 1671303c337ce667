import type { Clock } from "../clock.js";
import { sanitize, type RedisSseError } from "../errors.js";
import { createLog, printable } from "../log.js";
import type { Slices } from "../slices.js";
import type { ChannelReplay } from "./channel-replay.js";
import { judgePage, type OtherLog } from "./gap-rules.js";
import { haveOtherStamps, placeBefore, type Position } from "../sse/event-id.js";
import { type EventBatch, batchesOf } from "../events/event-batch.js";
import type { HistoryPort, LogPage } from "./history-port.js";
import { createBroken, type Ending, type InboundEvent } from "../events/inbound-event.js";
import { createGap, type GapReason } from "../events/gap.js";
import type { ChannelLog } from "./log-head.js";

/** The parts of the session that its replay uses. */
export interface ReplayOwner {
  /** Whether the session is subscribed and not closing. */
  readonly isOpen: boolean;
  /** Whether the session is open and its client accepts events. */
  readonly isWritable: boolean;
  /** Called when the client is missing events of a channel. */
  onBehind(): void;
  /** Called when the client has all events again. */
  onCaughtUp(): void;
  /** Called when a history cannot be read because of an error that is not retryable. */
  onUnreadable(fault: RedisSseError): void;
  /** What is known about the history of a channel. */
  log(channel: string): ChannelLog;
  /** Delivers the live events that have arrived in this event-loop turn. */
  flushTurn(): void;
}

/** The output for the next events. */
export interface ReplayOutput {
  /** Writes an event, or buffers it if the client is slow. */
  emit(event: InboundEvent): void;
  /** Does the same for a batch. */
  emitAll(batch: EventBatch): void;
  /** Called when more live events wait than before. */
  held(): void;
  /** Called when no events are missing any more. */
  caughtUp(): void;
  /** Called when fewer live events wait than before. A stream ends only when no events wait. */
  released(): void;
}

/** The parts of the service that a replay uses. */
export interface ReplayContext {
  readonly clock: Clock;
  readonly history: HistoryPort;
  readonly settings: { readonly maxReplayEvents: number; readonly maxBufferedBytes: number };
  readonly slices: Slices;
  readonly onGap: (reason: GapReason, channels: readonly string[]) => void;
}

/** The current tracks of a session. They can change during every wait. */
export interface Tracks {
  nextBehind(except?: ReadonlySet<ChannelReplay>): ChannelReplay | undefined;
  isCurrent(track: ChannelReplay): boolean;
  /**
   * Resolves after a second, or when the session closes. If a history seems to have lost events, it is read again after this
   * pause. The first answer may come from a master that was just replaced.
   */
  pause(): Promise<void>;
}

const log = createLog("history");

/**
 * Reads the events that a session has missed. It reads one channel after the other, in pages, as fast as the client accepts
 * them. It stops when the next event is live. If some events are lost, the client gets a gap.
 */
export class CatchUp {
  readonly #context: ReplayContext;
  readonly #owner: ReplayOwner;
  readonly #output: ReplayOutput;
  readonly #tracks: Tracks;
  #running = false;
  /** Set while the reads wait for the client. */
  #resume: (() => void) | null = null;

  constructor(context: ReplayContext, owner: ReplayOwner, output: ReplayOutput, tracks: Tracks) {
    this.#context = context;
    this.#owner = owner;
    this.#output = output;
    this.#tracks = tracks;
  }

  /** Starts or continues to read missing events. Called when the client reads again, or a failed read can be retried. */
  run(): void {
    this.#resume?.();
    if (this.#running || !this.#open || this.#tracks.nextBehind() === undefined) return;
    this.#running = true;
    void this.#runToEnd();
  }

  /** Called when the session closes. A read that waits continues, and ends. */
  stop(): void {
    this.#resume?.();
  }

  /** Skips to `position`, and sends a gap for the skipped events. */
  skip(track: ChannelReplay, position: Position, reason: GapReason, ending: Ending | null = null): void {
    track.position = position;
    if (ending !== null) track.ended = ending;
    this.tellGap(track.channel, reason, position, ending);
  }

  tellGap(channel: string, reason: GapReason, position: Position, ending: Ending | null = null): void {
    this.#context.onGap(reason, [channel]);
    const gap = createGap([channel], reason, channel);
    const isCompleted = ending === "completed";
    this.#output.emit({ ...gap, position, ...(isCompleted && { ending }) });
    if (ending === "broken") this.#output.emit({ ...createBroken(channel), position, ending });
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
    // Another track may have fallen behind since the last check.
    if (this.#tracks.nextBehind() !== undefined) this.run();
    else {
      this.#output.caughtUp();
      this.#owner.onCaughtUp();
    }
  }

  /** Returns true if no events are missing any more. Returns false if it must wait, or if the session is closing. */
  async #catchUp(): Promise<boolean> {
    const { history: port } = this.#context;
    // Tracks whose histories cannot be read now. They do not delay the other tracks.
    const stuck = new Set<ChannelReplay>();
    for (
      let track = this.#tracks.nextBehind(stuck);
      track !== undefined;
      track = this.#tracks.nextBehind(stuck)
    ) {
      const { channel } = track;
      if (!this.#owner.isWritable) await this.#writable();
      const turn = this.#context.slices.turn();
      if (turn !== undefined) await turn;
      if (!this.#open) return false;
      const from = track.position!;
      const asked = port.now();
      const { since, tail } = this.#owner.log(channel);
      let page: LogPage;
      try {
        // `top: null` excludes older cached pages. The history may have lost events since such a page was read.
        page = await port.read(
          channel,
          from,
          track.doubtedAt === null
            ? { since, top: tail?.position ?? null }
            : { since: Math.max(since, track.doubtedAt), top: null },
        );
      } catch (error) {
        const fault = sanitize(error);
        log("cannot read the history of %s: %s", printable(channel), fault.message);
        if (!fault.retryable) {
          this.#fail(fault);
          return false;
        }
        stuck.add(track);
        continue;
      }
      const again = this.#context.slices.turn();
      if (again !== undefined) await again;
      // Messages that are in no history may have arrived before the events of this page. The page may end the stream.
      if (this.#open) this.#owner.flushTurn();
      if (!this.#open) return false;
      if (!this.#tracks.isCurrent(track)) continue;
      this.#owner.log(channel).note(page);
      await this.#apply(track, page);
      if (!this.#open) return false;
      if (!this.#tracks.isCurrent(track) || track.doubtedAt !== null) continue;
      passWaiting(track, this.#owner, this.#output);
      // Now, no read can show which events are missing: the channel is not subscribed, or this read is older than the known
      // tail. When this has changed, `run()` is called.
      const wentBack = tail !== null && page.readAt > asked && page.position.offset < tail.position.offset;
      const isUnknown = this.#owner.log(channel).since === Infinity || wentBack;
      if (track.behind && track.position === from && isUnknown) stuck.add(track);
    }
    return stuck.size === 0;
  }

  async #apply(track: ChannelReplay, page: LogPage): Promise<void> {
    const isFresh = page.readAt > this.#owner.log(track.channel).since;
    const verdict = judgePage(track, page, isFresh, this.#context.settings.maxReplayEvents);
    switch (verdict.kind) {
      case "outdated":
        return;
      case "no-events":
        track.doubtedAt = null;
        return;
      case "doubt":
        track.doubtedAt = this.#context.history.now();
        return this.#tracks.pause();
      case "rolled-back":
        return this.#goBack(track, page, verdict.isTold);
      case "other-log":
        return this.#changeLog(track, verdict);
      case "skip":
        track.doubtedAt = null;
        return this.skip(track, verdict.to, verdict.gap, verdict.ending);
      case "events":
        track.doubtedAt = null;
        track.replaying = true;
        if (verdict.trimmedTo !== null) this.skip(track, verdict.trimmedTo, "trimmed");
        return this.#emitPage(track, page);
    }
  }

  async #emitPage(track: ChannelReplay, { events }: LogPage): Promise<void> {
    for (const batch of batchesOf(events)) {
      if (!this.#owner.isWritable) await this.#writable();
      if (!this.#open || !this.#tracks.isCurrent(track)) return;
      this.#emitRest(track, batch);
    }
  }

  /** The history has lost events. Continues after the newest event that is known to be kept, or else with new events. */
  #goBack(track: ChannelReplay, { position: top, ending, previousStamp }: LogPage, isTold: boolean): void {
    const { epoch, offset } = track.position!;
    const last = isTold ? null : this.#owner.log(track.channel).lastKept(track.position!);
    track.doubtedAt = null;
    track.forgetLogged();
    // Goes back to a position only once, because two servers that both act as master can answer in turn.
    if (last !== null && last.offset < top.offset && last !== track.wentBackTo) {
      track.wentBackTo = last;
      this.skip(track, last, "future");
    } else if (offset < top.offset) this.skip(track, { epoch, offset, stamp: previousStamp }, "future");
    else this.skip(track, top, "future", ending);
  }

  #changeLog(track: ChannelReplay, { gap, to, ending }: OtherLog): void {
    if (track.ended !== null) track.reopen();
    if (gap !== null) return this.skip(track, to, gap);
    track.position = to;
    if (ending !== null) track.ended = ending;
  }

  /** Sends those events of a batch that the client does not have. */
  #emitRest(track: ChannelReplay, batch: EventBatch): void {
    const { offset } = track.position!;
    if (batch.run !== null && batch.run.first > offset) {
      this.#tellLoss(track, batch.events[0]!);
      track.advance(batch.last);
      return this.#output.emitAll(batch);
    }
    for (const event of batch.events) {
      if (event.position!.offset <= track.position!.offset) continue;
      this.#tellLoss(track, event);
      track.advance(event);
      this.#output.emit(event);
    }
  }

  /** Sends a gap if the stamps of an event show that the history has lost the event before it. */
  #tellLoss(track: ChannelReplay, { position }: InboundEvent): void {
    if (haveOtherStamps(track.position!.stamp, position!.previousStamp)) {
      this.skip(track, placeBefore(position!), "future");
    }
  }

  /** Resolves when the client accepts events, or when the session is not open any more. */
  async #writable(): Promise<void> {
    while (this.#open && !this.#owner.isWritable) {
      await new Promise<void>((resolve) => (this.#resume = resolve));
      this.#resume = null;
    }
  }

  /** The history cannot be read because of an error that is not retryable. */
  #fail(fault: RedisSseError): void {
    this.#owner.onUnreadable(fault);
  }

  get #open(): boolean {
    return this.#owner.isOpen;
  }
}

/** Delivers the waiting events that come next. If the client then has all events, the track is not behind any more. */
export function passWaiting(track: ChannelReplay, owner: ReplayOwner, output: ReplayOutput): void {
  const { waitingBytes, ended } = track;
  passAll(track, owner, output);
  if (track.waitingBytes !== waitingBytes || track.ended !== ended) output.released();
}

function passAll(track: ChannelReplay, owner: ReplayOwner, output: ReplayOutput): void {
  passHeld(track, output);
  const { tail } = owner.log(track.channel);
  const isCurrent = tail !== null && isSamePlace(tail.position, track.position!);
  // Another program can end a channel without a last event. So can a publisher that a Redis ACL rule limits.
  if (isCurrent && tail.ending !== null) track.ended ??= tail.ending;
  track.behind = !isCurrent && track.ended === null;
  if (track.behind) return;
  // The events that still wait are in no history. Another program has invented their positions.
  track.forgetLogged();
  passHeld(track, output);
}

function passHeld(track: ChannelReplay, output: ReplayOutput): void {
  for (let event = track.next(); event; event = track.next()) {
    track.advance(event);
    output.emit(event);
  }
}

export function isSamePlace(one: Position, other: Position): boolean {
  return one.epoch === other.epoch && one.offset === other.offset && !haveOtherStamps(one.stamp, other.stamp);
}
