import { haveOtherStamps, isNext, placeBefore, type Position } from "../sse/event-id.js";
import type { Tail } from "./history-port.js";
import type { InboundEvent } from "../events/inbound-event.js";

/** What a connection knows of a channel's log; a `LogHead`, as sessions see it. */
export interface ChannelLog {
  /** Where it stands; `null` where only a read can tell, begun after `since`. */
  readonly tail: Tail | null;
  readonly since: number;
  /** The newest event before `position` that the log still has, if the log has lost `position` and this is known. */
  lastKept(position: Position): Position | null;
  /** Tells what a read has found. */
  note(tail: Tail & { readonly readAt: number }): void;
}

/** Messages of a channel may be missing: the connection was lost and is back, or Redis dropped them. */
export interface Interruption {
  readonly channel: string;
  /** Plain messages have come over it, which are in no log: what was missed of those is gone. */
  readonly unlogged: boolean;
}

/** A log may have lost its newest events. */
export interface Suspicion {
  /** The newest event that is not lost; `null` if that is not known. */
  readonly to: Position | null;
}

/** Events whose stamps are remembered: more than a failover usually loses. */
const REMEMBERED = 16;

/**
 * The newest place in the log of one subscribed channel, as far as it is known without a read: from reads after the
 * subscription, and from every event that was heard since. A place that may be too old counts as unknown.
 */
export class LogHead {
  #tail: Tail | null = null;
  /** Events heard in a row while the tail is not known: the first and the last of them. */
  #run: { readonly first: Position; readonly last: Position } | null = null;
  /** A read that starts after this one (`HistoryPort.now()`) shows all events that were not heard; `null`: no read does. */
  #since: number | null = null;
  /** When the latest read started whose result was used. */
  #readAt = 0;
  #unlogged = false;
  /** The last event that came over the subscription. */
  #heard: Position | null = null;
  /** The newest place in the log, as the first read after the subscription found it. */
  #begin: Position | null = null;
  /** The stamps of the last events that came, by their offsets; 0 if unknown. */
  #stamps: Uint32Array | null = null;
  /** The latest loss of newest events: the newest event that was not lost, and the offset of the newest that was. */
  #rollback: { readonly to: Position; readonly from: number } | null = null;

  get tail(): Tail | null {
    return this.#tail;
  }

  /** The newest event that was heard or read, even if it is not the newest event of the log. */
  get newest(): Position | null {
    return this.#tail?.position ?? this.#run?.last ?? null;
  }

  /**
   * The last event that came over the subscription, or else the newest event that the first read found. Events that only
   * later reads find do not count: only the session that read them has them.
   */
  get reached(): Position | null {
    return this.#heard ?? this.#begin;
  }

  /** A read that starts after this one shows the tail. */
  get since(): number {
    return this.#since ?? Infinity;
  }

  /**
   * Whether plain messages come over the channel. Any program may send them, and some of them may be missed without
   * notice. Events of `publish()` with `history: false` do not count.
   */
  get unlogged(): boolean {
    return this.#unlogged;
  }

  /** The subscription is acknowledged. */
  established(now: number): void {
    this.#since ??= now;
  }

  /** Messages may be missed from now on. */
  lost(): void {
    this.#tail = null;
    this.#run = null;
    this.#since = null;
    this.#heard = null;
    this.#begin = null;
    this.#rollback = null;
  }

  /** The log has lost the events after `to` (`null`: not known), and other events have their offsets. */
  rolledBack(to: Position | null): void {
    const { newest } = this;
    this.lost();
    if (to !== null && newest !== null) this.#rollback = { to, from: newest.offset };
  }

  /** The event that was heard last is not in the log. The newest event of the log is `found`. */
  disproved(found: Position): void {
    if (this.#heard?.epoch !== found.epoch || this.#heard.offset <= found.offset) return;
    this.#heard = found;
    this.#stamps?.fill(0);
  }

  /** The newest event before `position` that the log still has, if the log has lost `position` and this is known. */
  lastKept({ epoch, offset }: Position): Position | null {
    if (this.#rollback === null) return null;
    const { to, from } = this.#rollback;
    return epoch === to.epoch && offset > to.offset && offset <= from ? to : null;
  }

  /**
   * Notes an event that has come. Returns a suspicion if the log may have lost events: only after a failover or a restart
   * that lost the newest events, Redis gives an offset of an epoch a second time. (Another program may also have made it up.)
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

  /** Whether a read has found another event at this offset. */
  #isReplaced({ epoch, offset, stamp }: Position): boolean {
    const known = this.#tail?.position;
    return known?.epoch === epoch && known.offset === offset && haveOtherStamps(known.stamp, stamp);
  }

  /** Judges an event whose offset is not larger than the last one. */
  #judge(position: Position, { offset }: Position): Suspicion | null {
    const { stamp = 0 } = position;
    const known = position.offset > offset - REMEMBERED ? this.#stamps![position.offset % REMEMBERED]! : 0;
    if (known === 0 || stamp === 0) return { to: null };
    // The same event has come twice: a node of a cluster that was cut off sends its delayed messages.
    return known === stamp ? null : { to: placeBefore(position) };
  }

  #follow(position: Position, ending: Tail["ending"], now: number): void {
    const known = this.#tail?.position ?? this.#run?.last;
    if (known !== undefined && known.epoch === position.epoch) {
      if (position.offset <= known.offset) return;
      // Only a read shows whether the channel is finite. The log says so from its first event on.
      const isFirst = position.offset === 1;
      if (isNext(known, position) && !isFirst) return this.#advance(position, ending);
    }
    // An offset is missing, or the epoch is another one. Only a read that starts now can show the tail.
    this.#tail = null;
    this.#run = { first: position, last: position };
    if (this.#since !== null) this.#since = now;
  }

  /** Notes the result of a read. Pages are shared, so this read may be older than the last one. */
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
    // Events that came after the read started. An event that the read should have found, but did not, was never in the log.
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
