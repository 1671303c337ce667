import { haveOtherStamps, isNext, placeBefore, type Position } from "./cursor.js";
import type { Tail } from "./history-port.js";
import type { InboundEvent } from "./inbound-event.js";

/** A log may have lost its newest events. */
export interface Suspicion {
  /** The newest event that is not lost; `null` if that is not known. */
  readonly to: Position | null;
}

/** Events whose stamps are remembered: more than a failover usually loses. */
const REMEMBERED = 16;

/**
 * Where the log of one subscribed channel stands, as far as it is known without asking: by what was read after the
 * subscription, and by every event heard since. It knows nothing rather than something that may be too old.
 */
export class TailTracker {
  #tail: Tail | null = null;
  /** Events heard in a row while the tail is not known: the first and the last of them. */
  #run: { readonly first: Position; readonly last: Position } | null = null;
  /** Reads begun after this one (`HistoryPort.now()`) have seen all that was not heard; `null`: none has. */
  #since: number | null = null;
  /** When the latest read was begun that told something. */
  #readAt = 0;
  #unlogged = false;
  /** The last event that came over the subscription. */
  #heard: Position | null = null;
  /** Where the log stood by the first read after the subscription. */
  #begin: Position | null = null;
  /** The stamps of the last events that came, by their offsets; 0 if unknown. */
  #stamps: Uint32Array | null = null;
  /** The latest loss of newest events: the newest event that was not lost, and the offset of the newest that was. */
  #rollback: { readonly to: Position; readonly from: number } | null = null;

  get tail(): Tail | null {
    return this.#tail;
  }

  /** The newest event that was heard or read of, whether or not the log stands there. */
  get newest(): Position | null {
    return this.#tail?.position ?? this.#run?.last ?? null;
  }

  /**
   * The last event that came, or else where the log stood at the beginning. What reads find does not count: the sessions
   * that did not read it have not got it.
   */
  get reached(): Position | null {
    return this.#heard ?? this.#begin;
  }

  /** From when on a read tells the tail. */
  get since(): number {
    return this.#since ?? Infinity;
  }

  /**
   * Whether plain messages come over the channel, as any program may send: some of them may be missed, and nobody
   * will know. Those of `publish()` that are to be kept nowhere are not to be missed either.
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

  /** The log has lost the events behind `to` (`null`: not known), and has given their offsets to others. */
  rolledBack(to: Position | null): void {
    const { newest } = this;
    this.lost();
    if (to !== null && newest !== null) this.#rollback = { to, from: newest.offset };
  }

  /** What was heard last was made up, or came before: the log stands at `found`. */
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
   * An event has come. Answers whether the log may have gone back: a place is given once, but by a server that has
   * lost its newest events, in a failover or a restart, and goes on from before them. (Or somebody has made it up.)
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

  /** Whether the log was seen to have another event at this place. */
  #isReplaced({ epoch, offset, stamp }: Position): boolean {
    const known = this.#tail?.position;
    return known?.epoch === epoch && known.offset === offset && haveOtherStamps(known.stamp, stamp);
  }

  /** Of an event at a place that was given before. */
  #judge(position: Position, { offset }: Position): Suspicion | null {
    const { stamp = 0 } = position;
    const known = position.offset > offset - REMEMBERED ? this.#stamps![position.offset % REMEMBERED]! : 0;
    if (known === 0 || stamp === 0) return { to: null };
    // It came once more: a node of a cluster that was cut off passes on what it could not before.
    return known === stamp ? null : { to: placeBefore(position) };
  }

  #follow(position: Position, ending: Tail["ending"], now: number): void {
    const known = this.#tail?.position ?? this.#run?.last;
    if (known !== undefined && known.epoch === position.epoch) {
      if (position.offset <= known.offset) return;
      // Whether a channel will be completed its log says from its first event on, and no event does.
      const isFirst = position.offset === 1;
      if (isNext(known, position) && !isFirst) return this.#advance(position, ending);
    }
    // A hole, or another life of the log: only a read from now on can tell where it stands.
    this.#tail = null;
    this.#run = { first: position, last: position };
    if (this.#since !== null) this.#since = now;
  }

  /** What a read has found; pages are shared, so it may be an older one than the last. */
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
    // What came after the read began. Events that it should have found and has not were never in the log.
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
