import { haveOtherStamps, isNext, placeBefore, type Position } from "../sse/event-id.js";
import type { Tail } from "./history-port.js";
import type { InboundEvent } from "../events/inbound-event.js";

/** What a connection knows about the history of a channel. Sessions see a `LogHead` through this interface. */
export interface ChannelLog {
  /** The newest known position; `null` if only a read that starts after `since` can find it. */
  readonly tail: Tail | null;
  readonly since: number;
  /** If the history has lost `position`, the newest earlier event that it still has; `null` if this is not known. */
  lastKept(position: Position): Position | null;
  /** Notes the result of a read. */
  note(tail: Tail & { readonly readAt: number }): void;
}

/** Messages of a channel may be missing, because the connection was lost for some time, or Redis dropped messages. */
export interface Interruption {
  readonly channel: string;
  /** Whether plain messages may be missing. They are in no history, so they are lost. */
  readonly unlogged: boolean;
}

/** The history may have lost its newest events. */
export interface Suspicion {
  /** The newest event that is not lost; `null` if this is not known. */
  readonly to: Position | null;
}

/** Number of events whose stamps are remembered. A failover usually loses fewer events. */
const REMEMBERED = 16;

/**
 * Tracks the newest position in the history of one subscribed channel. It uses the reads after the subscription and all
 * events that arrived since then. If the known position may be outdated, it counts as unknown.
 */
export class LogHead {
  #tail: Tail | null = null;
  /** The first and the last of the consecutive events that arrived while the tail is not known. */
  #run: { readonly first: Position; readonly last: Position } | null = null;
  /**
   * A read that starts after this time (`HistoryPort.now()`) shows all events that did not arrive. `null` if no read can show
   * them, because the channel is not subscribed.
   */
  #since: number | null = null;
  /** The start of the latest read whose result was used. */
  #readAt = 0;
  #unlogged = false;
  /** The last event that arrived over the subscription. */
  #heard: Position | null = null;
  /** The newest position that the first read after the subscription found. */
  #begin: Position | null = null;
  /** The stamps of the last events that arrived, by their offsets; 0 if unknown. */
  #stamps: Uint32Array | null = null;
  /** The latest loss: the newest event that was not lost, and the offset of the newest lost event. */
  #rollback: { readonly to: Position; readonly from: number } | null = null;

  get tail(): Tail | null {
    return this.#tail;
  }

  /** The newest event that arrived or was read, even if it is not the newest event of the history. */
  get newest(): Position | null {
    return this.#tail?.position ?? this.#run?.last ?? null;
  }

  /**
   * The last event that arrived over the subscription, or else the newest event of the first read. Later reads do not count,
   * because only the session that read has their events.
   */
  get reached(): Position | null {
    return this.#heard ?? this.#begin;
  }

  /** A read that starts after this time shows the tail. */
  get since(): number {
    return this.#since ?? Infinity;
  }

  /**
   * Whether plain messages arrive on the channel. Any program may send them, and nothing shows that one of them was missed.
   * Events of `publish()` with `history: false` do not count.
   */
  get unlogged(): boolean {
    return this.#unlogged;
  }

  /** Called when the subscription is acknowledged. */
  established(now: number): void {
    this.#since ??= now;
  }

  /** Called when messages may be missed from now on. */
  lost(): void {
    this.#tail = null;
    this.#run = null;
    this.#since = null;
    this.#heard = null;
    this.#begin = null;
    this.#rollback = null;
  }

  /** Called when the history has lost the events after `to` (`null` if unknown), and other events have their offsets. */
  rolledBack(to: Position | null): void {
    const { newest } = this;
    this.lost();
    if (to !== null && newest !== null) this.#rollback = { to, from: newest.offset };
  }

  /** Called when the last event that arrived is not in the history, whose newest event is `found`. */
  disproved(found: Position): void {
    if (this.#heard?.epoch !== found.epoch || this.#heard.offset <= found.offset) return;
    this.#heard = found;
    this.#stamps?.fill(0);
  }

  /** See `ChannelLog.lastKept()`. */
  lastKept({ epoch, offset }: Position): Position | null {
    if (this.#rollback === null) return null;
    const { to, from } = this.#rollback;
    return epoch === to.epoch && offset > to.offset && offset <= from ? to : null;
  }

  /**
   * Notes an event that has arrived. Returns a suspicion if the history may have lost events. Redis uses an offset of an epoch
   * a second time only after a failover or a restart has lost the newest events. Another program may also have invented the
   * position.
   */
  heard({ position, ending }: InboundEvent, now: number, isPlain = true): Suspicion | null {
    if (position === undefined) {
      if (isPlain) this.#unlogged = true;
      return null;
    }
    const before = this.#heard;
    if (before?.epoch === position.epoch && position.offset <= before.offset)
      return this.#judge(position, before);
    if (before === null && this.#isReplaced(position)) return { to: placeBefore(position) };
    if (before?.epoch !== position.epoch || position.offset > before.offset + 1) this.#stamps?.fill(0);
    this.#stamps ??= new Uint32Array(REMEMBERED);
    this.#stamps[position.offset % REMEMBERED] = position.stamp ?? 0;
    this.#heard = position;
    this.#follow(position, ending ?? null, now);
    return null;
  }

  /** Whether a read has found a different event at this offset. */
  #isReplaced({ epoch, offset, stamp }: Position): boolean {
    const known = this.#tail?.position;
    return known?.epoch === epoch && known.offset === offset && haveOtherStamps(known.stamp, stamp);
  }

  /** Judges an event whose offset is not larger than the last offset. */
  #judge(position: Position, { offset }: Position): Suspicion | null {
    const { stamp = 0 } = position;
    const known = position.offset > offset - REMEMBERED ? this.#stamps![position.offset % REMEMBERED]! : 0;
    if (known === 0 || stamp === 0) return { to: null };
    // The same event has arrived twice, because a disconnected cluster node sends its delayed messages.
    return known === stamp ? null : { to: placeBefore(position) };
  }

  #follow(position: Position, ending: Tail["ending"], now: number): void {
    const known = this.#tail?.position ?? this.#run?.last;
    if (known !== undefined && known.epoch === position.epoch) {
      if (position.offset <= known.offset) return;
      // Only a read shows whether the channel is finite. The history has this fact from its first event on.
      const isFirst = position.offset === 1;
      if (isNext(known, position) && !isFirst) return this.#advance(position, ending);
    }
    // An offset is missing, or the epoch is different. Only a read that starts now can show the tail.
    this.#tail = null;
    this.#run = { first: position, last: position };
    if (this.#since !== null) this.#since = now;
  }

  /** Notes the result of a read. Sessions share pages, so this read may be older than the last one. */
  note({ readAt, ...found }: Tail & { readonly readAt: number }): void {
    const { position, ending, finite, at, isInvalid, run: server, mayHaveLost } = found;
    if (readAt <= this.since || readAt < this.#readAt) return;
    this.#readAt = readAt;
    this.#begin ??= position;
    const tail = this.#tail;
    const isSameLog = tail?.position.epoch === position.epoch && position.epoch !== "";
    if (isSameLog && tail.position.offset >= position.offset && !this.#isReplaced(position)) {
      this.#tail = { ...tail, ending: tail.ending ?? ending, finite: tail.finite || finite, at };
      return;
    }
    const run = this.#run;
    this.#run = null;
    // Events that arrived after the read started count. If the read should have found an event and did not, the event was
    // never in the history.
    const later =
      run !== null &&
      run.last.epoch === position.epoch &&
      run.last.offset > position.offset &&
      (run.first.offset <= position.offset || isNext(position, run.first));
    this.#tail = {
      position: later ? run.last : position,
      ending,
      finite,
      at,
      isInvalid,
      run: server,
      mayHaveLost,
    };
  }

  #advance(position: Position, ending: Tail["ending"]): void {
    if (this.#tail !== null) this.#tail = { ...this.#tail, position, ending };
    else this.#run = { first: this.#run!.first, last: position };
  }
}
