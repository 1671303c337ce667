import { atOnce, tellFailure, type OnRuleError, type RuleName } from "../sync-callback.js";
import type { BufferBudget } from "./buffer-budget.js";
import type { Position } from "../sse/event-id.js";
import { FifoBuffer } from "./fifo-buffer.js";
import { sizeOf, isControl, type InboundEvent, type StreamEvent } from "../events/inbound-event.js";
import { createGap, type GapReason } from "../events/gap.js";
import { NO_CHANNEL } from "../events/channel-name.js";
import { ConflatingBuffer } from "./conflating-buffer.js";
import type { SlowConsumerPolicy } from "./slow-consumer-policy.js";

export interface BacklogOptions {
  readonly policy: SlowConsumerPolicy;
  /**
   * Above this size, the policy drops events, but not the newest. "disconnect" drops nothing: the session closes the
   * stream instead.
   */
  readonly maxBytes: number;
  readonly onGap: (reason: GapReason, channels: readonly string[]) => void;
  /** Counts the dropped events of all streams. */
  readonly budget: Pick<BufferBudget, "countDropped">;
  /** Counts failures of `latestBy`. */
  readonly onRuleFailure: (rule: RuleName) => void;
  /** Called with the error that `latestBy` threw. */
  readonly onError?: OnRuleError | undefined;
}

/**
 * The buffered events of a slow client. The policy decides which of them are dropped. Three kinds of events are never
 * dropped: events that `session.send()` sent, control events, and the last event of a channel or of the stream.
 */
export class Backlog {
  readonly #options: BacklogOptions;
  readonly #keyOf: ((event: StreamEvent) => string | number) | null;
  readonly #queue: FifoBuffer<InboundEvent> | ConflatingBuffer<InboundEvent>;
  /** Channels with dropped events that no gap covers yet. The value is the position of the newest dropped event. */
  #lost: Map<string, Position | undefined> | null = null;
  /** The gaps that the client gets before the next event. */
  #gaps: Gap[] = [];
  #dropped = 0;
  /** The newest droppable event, while it is buffered. The buffer limit of this stream does not drop it. */
  #newest: InboundEvent | null = null;

  constructor(options: BacklogOptions) {
    this.#options = options;
    this.#keyOf = keyFunctionOf(options.policy);
    this.#queue = this.#keyOf === null ? new FifoBuffer() : new ConflatingBuffer();
  }

  get bytes(): number {
    return this.#queue.bytes;
  }

  /** The bytes that count against the buffer limit of the stream. If the policy drops events, the newest does not count. */
  get boundedBytes(): number {
    if (this.#newest === null || this.#options.policy === "disconnect") return this.#queue.bytes;
    return this.#queue.bytes - sizeOf(this.#newest);
  }

  get isEmpty(): boolean {
    return this.#queue.isEmpty && this.#lost === null && this.#gaps.length === 0;
  }

  /** Number of events that were never written. */
  get dropped(): number {
    return this.#dropped;
  }

  push(event: InboundEvent): void {
    if (this.#queue instanceof FifoBuffer) {
      this.#queue.push(event);
    } else {
      const replaced = this.#queue.push(event, isDroppable(event) ? this.#key(event) : Symbol("kept"));
      if (replaced !== undefined) this.#lose(replaced);
    }
    if (this.#options.policy === "disconnect") return;
    if (isDroppable(event)) this.#newest = event;
    this.#shrink(this.#options.maxBytes, (each) => each !== this.#newest && isDroppable(each));
  }

  /** Removes and returns the next event for the client. After a drop, the gaps come first. */
  shift(): InboundEvent | undefined {
    if (this.#lost !== null) this.#gaps.push(...this.#takeLost(this.#lost));
    const gap = this.#gaps.shift();
    if (gap === undefined) {
      const event = this.#queue.shift();
      if (event === this.#newest) this.#newest = null;
      return event;
    }
    this.#options.onGap("slow-consumer", gap.channels);
    return gap.event;
  }

  /** Drops all droppable events. Returns false if the policy drops nothing. */
  relieve(): boolean {
    if (this.#options.policy === "disconnect") return false;
    this.#shrink(0, isDroppable);
    this.#newest = null;
    return true;
  }

  /** Drops the buffered events of a channel that was removed from the stream. */
  forget(channel: string): void {
    this.#dropped += this.#queue.remove((event) => event.channel === channel);
    if (this.#newest?.channel === channel) this.#newest = null;
    this.#lost?.delete(channel);
    if (this.#lost?.size === 0) this.#lost = null;
    this.#gaps = this.#gaps.filter(({ event }) => event.channel !== channel);
  }

  clear(): void {
    this.#dropped += this.#queue.clear();
    this.#newest = null;
    this.#lost = null;
    this.#gaps = [];
  }

  /** The key of an event: its channel, and the result of `latestBy`. If `latestBy` fails, the channel alone is the key. */
  #key(event: InboundEvent): string {
    const { channel, event: type, data } = event;
    let key: unknown;
    try {
      key = atOnce("latestBy", this.#keyOf!({ channel, event: type, data }));
    } catch (error) {
      this.#options.onRuleFailure("latestBy");
      tellFailure("latestBy", error, event, this.#options.onError);
    }
    return `${channel}\n${textOf(key)}`;
  }

  #shrink(maxBytes: number, mayGo: (event: InboundEvent) => boolean): void {
    this.#queue.dropOldest(maxBytes, mayGo, (event) => this.#lose(event));
  }

  #lose({ channel, position }: InboundEvent): void {
    this.#dropped++;
    this.#options.budget.countDropped();
    this.#lost ??= new Map();
    const known = this.#lost.get(channel);
    const isOlder = known !== undefined && position?.epoch === known.epoch && position.offset < known.offset;
    this.#lost.set(channel, isOlder ? known : (position ?? known));
  }

  /** Creates one gap for each channel whose gap has a position, and one gap for all other channels. */
  #takeLost(lost: ReadonlyMap<string, Position | undefined>): readonly Gap[] {
    this.#lost = null;
    const next = new Map<string, InboundEvent>();
    this.#queue.each((event) => {
      const isFirst = event.position !== undefined && !next.has(event.channel);
      if (isFirst && lost.has(event.channel)) next.set(event.channel, event);
    });
    const gaps: Gap[] = [];
    const others: string[] = [];
    for (const [channel, last] of lost) {
      const position = last && gapPosition(last, next.get(channel));
      if (position === undefined) others.push(channel);
      else {
        const event = { ...createGap([channel], "slow-consumer", channel), position };
        gaps.push({ channels: [channel], event });
      }
    }
    if (others.length > 0) gaps.push({ channels: others, event: createGap(others, "slow-consumer") });
    return gaps;
  }
}

interface Gap {
  readonly channels: readonly string[];
  readonly event: InboundEvent;
}

/**
 * The position of a gap: after the dropped events, and before the next buffered event of the channel. `undefined` if the
 * next event is a gap with its own position, or has another epoch. Then the position of the client does not change.
 */
function gapPosition(last: Position, next: InboundEvent | undefined): Position | undefined {
  if (next?.position === undefined) return last;
  if (isControl(next) || next.position.epoch !== last.epoch) return undefined;
  return { epoch: last.epoch, offset: Math.min(last.offset, next.position.offset - 1) };
}

function keyFunctionOf(policy: SlowConsumerPolicy): ((event: StreamEvent) => string | number) | null {
  if (typeof policy === "object") return policy.latestBy;
  return policy === "latest" ? () => "" : null;
}

function isDroppable(event: InboundEvent): boolean {
  if (event.channel === NO_CHANNEL || isControl(event)) return false;
  return event.ending === undefined && event.isLast !== true;
}

/** Converts a key to text. Numbers and booleans become their text, and all other values count as no key. */
function textOf(key: unknown): string {
  if (typeof key === "string") return key;
  if (typeof key === "number" || typeof key === "bigint" || typeof key === "boolean") return String(key);
  return "";
}
