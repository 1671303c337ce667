import { atOnce, tellFailure, type OnRuleError, type RuleName } from "../sync-callback.js";
import type { BufferBudget } from "./buffer-budget.js";
import type { Position } from "../sse/event-id.js";
import { FifoBuffer } from "./fifo-buffer.js";
import { sizeOf, isControl, type InboundEvent, type StreamEvent } from "../events/inbound-event.js";
import { createGap, type GapReason } from "../events/gap.js";
import { NO_CHANNEL } from "../events/channel-name.js";
import { ConflatingBuffer } from "./conflating-buffer.js";
import type { SlowConsumerPolicy } from "./slow-consumer.js";

export interface BacklogOptions {
  readonly policy: SlowConsumerPolicy;
  /** Above this the policy drops, though not the newest; one that drops nothing leaves it to the session to end. */
  readonly maxBytes: number;
  readonly onGap: (reason: GapReason, channels: readonly string[]) => void;
  /** Counts what the policy drops, for all streams together. */
  readonly budget: Pick<BufferBudget, "countDropped">;
  /** Counts that `latestBy` failed. */
  readonly onRuleFailure: (rule: RuleName) => void;
  /** Told what `latestBy` threw. */
  readonly onError?: OnRuleError | undefined;
}

/**
 * What waits for a client that does not read as fast as it is written to, and what is dropped of it. Never dropped are
 * what is meant for this stream alone, what this library says itself, and the last event of a channel or of the stream.
 */
export class Backlog {
  readonly #options: BacklogOptions;
  readonly #keyOf: ((event: StreamEvent) => string | number) | null;
  readonly #queue: FifoBuffer<InboundEvent> | ConflatingBuffer<InboundEvent>;
  /** Channels of which something was dropped that the client is still to be told of, with the last that was. */
  #lost: Map<string, Position | undefined> | null = null;
  /** What the client is told of them, before anything else. */
  #gaps: Gap[] = [];
  #dropped = 0;
  /** The newest that may be dropped, while it waits: no bound of this stream alone takes it. */
  #newest: InboundEvent | null = null;

  constructor(options: BacklogOptions) {
    this.#options = options;
    this.#keyOf = keyFunctionOf(options.policy);
    this.#queue = this.#keyOf === null ? new FifoBuffer() : new ConflatingBuffer();
  }

  get bytes(): number {
    return this.#queue.bytes;
  }

  /** What is held against the bound of the stream: where events are dropped, the newest is kept whatever its size. */
  get boundedBytes(): number {
    if (this.#newest === null || this.#options.policy === "disconnect") return this.#queue.bytes;
    return this.#queue.bytes - sizeOf(this.#newest);
  }

  get isEmpty(): boolean {
    return this.#queue.isEmpty && this.#lost === null && this.#gaps.length === 0;
  }

  /** Events that were never written. */
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

  /** The next for the client: where something was dropped, that is told first. */
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

  /** Drops all that may be. False where the policy drops nothing. */
  relieve(): boolean {
    if (this.#options.policy === "disconnect") return false;
    this.#shrink(0, isDroppable);
    this.#newest = null;
    return true;
  }

  /** Drops what waits of a channel that was taken away. */
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

  /** By the channel it came over, and what the application says of it: where that is nothing, by the channel alone. */
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

  /** A gap for each channel that has a place to tell with it, and one for all others. */
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
      const position = last && placeBefore(last, next.get(channel));
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
 * Up to where the client is told: what still waits of the channel comes behind it. None where a gap waits, which has
 * a place of its own, or an event of another life of the log: until then the client stays where it is.
 */
function placeBefore(last: Position, next: InboundEvent | undefined): Position | undefined {
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

/** A key as text: one that is a number in JSON is a number here. */
function textOf(key: unknown): string {
  if (typeof key === "string") return key;
  if (typeof key === "number" || typeof key === "bigint" || typeof key === "boolean") return String(key);
  return "";
}
