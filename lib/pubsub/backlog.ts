import { createLog } from "../log.js";
import { atOnce, describeThrown } from "./app-answer.js";
import type { Position } from "./cursor.js";
import { FrameBuffer } from "./frame-buffer.js";
import { createGap, isControl, NO_CHANNEL, type GapReason, type InboundEvent } from "./inbound-event.js";
import { KeyedBuffer } from "./keyed-buffer.js";
import type { SlowConsumerPolicy } from "./slow-consumer.js";
import type { StreamEvent } from "./stream-event.js";

const log = createLog("session");

export interface BacklogOptions {
  readonly policy: SlowConsumerPolicy;
  /** Above this the policy drops; one that drops nothing leaves it to the session to end. */
  readonly maxBytes: number;
  readonly onGap: (reason: GapReason, channels: readonly string[]) => void;
}

/**
 * What waits for a client that does not read as fast as it is written to, and what is dropped of it. Never dropped are
 * what is meant for this stream alone, what this library says itself, and the last event of a channel or of the stream.
 */
export class Backlog {
  readonly #options: BacklogOptions;
  readonly #keyOf: ((event: StreamEvent) => string) | null;
  readonly #queue: FrameBuffer<InboundEvent> | KeyedBuffer<InboundEvent>;
  /** Channels of which something was dropped that the client is still to be told of, with the last that was. */
  #lost: Map<string, Position | undefined> | null = null;
  #dropped = 0;

  constructor(options: BacklogOptions) {
    this.#options = options;
    this.#keyOf = keyFunctionOf(options.policy);
    this.#queue = this.#keyOf === null ? new FrameBuffer() : new KeyedBuffer();
  }

  get bytes(): number {
    return this.#queue.bytes;
  }

  get isEmpty(): boolean {
    return this.#queue.isEmpty && this.#lost === null;
  }

  /** Events that were never written. */
  get dropped(): number {
    return this.#dropped;
  }

  push(event: InboundEvent): void {
    if (this.#queue instanceof FrameBuffer) {
      this.#queue.push(event);
    } else {
      const replaced = this.#queue.push(event, isDroppable(event) ? this.#key(event) : Symbol("kept"));
      if (replaced !== undefined) this.#lose(replaced);
    }
    if (this.#options.policy !== "disconnect") this.#shrink(this.#options.maxBytes);
  }

  /** The next for the client: where something was dropped, that is told first. */
  shift(): InboundEvent | undefined {
    return this.#lost === null ? this.#queue.shift() : this.#tellLost(this.#lost);
  }

  /** Drops all that may be. False where the policy drops nothing. */
  relieve(): boolean {
    if (this.#options.policy === "disconnect") return false;
    this.#shrink(0);
    return true;
  }

  /** Drops what waits of a channel that was taken away. */
  forget(channel: string): void {
    this.#dropped += this.#queue.remove((event) => event.channel === channel);
    this.#lost?.delete(channel);
    if (this.#lost?.size === 0) this.#lost = null;
  }

  clear(): void {
    this.#dropped += this.#queue.clear();
    this.#lost = null;
  }

  /** By the channel it came over, and what the application says of it: where that is nothing, by the channel alone. */
  #key(event: InboundEvent): string {
    const { channel, event: type, data } = event;
    let key: unknown;
    try {
      key = atOnce("latestBy", this.#keyOf!({ channel, event: type, data }));
    } catch (error) {
      log("latestBy() failed: %s", describeThrown(error));
    }
    return `${channel}\n${textOf(key)}`;
  }

  #shrink(maxBytes: number): void {
    while (this.#queue.bytes > maxBytes) {
      const oldest = this.#queue.take(isDroppable);
      if (oldest === undefined) return;
      this.#lose(oldest);
    }
  }

  #lose({ channel, position }: InboundEvent): void {
    this.#dropped++;
    this.#lost ??= new Map();
    const known = this.#lost.get(channel);
    const isOlder = known !== undefined && position?.epoch === known.epoch && position.offset < known.offset;
    this.#lost.set(channel, isOlder ? known : (position ?? known));
  }

  /** A gap for each channel that has a place to tell with it, and one for all others. */
  #tellLost(lost: Map<string, Position | undefined>): InboundEvent {
    const places = Array.from(lost, ([channel, last]) => ({
      channel,
      place: this.#placeBefore(channel, last),
    }));
    const first = places.find(({ place }) => place !== undefined);
    const channels = first === undefined ? places.map(({ channel }) => channel) : [first.channel];
    for (const channel of channels) lost.delete(channel);
    if (lost.size === 0) this.#lost = null;
    this.#options.onGap("slow-consumer", channels);
    if (first?.place === undefined) return createGap(channels, "slow-consumer");
    return { ...createGap(channels, "slow-consumer", first.channel), position: first.place };
  }

  /**
   * Up to where the client is told: what still waits of the channel comes behind it. None where a gap waits, which has
   * a place of its own, or an event of another life of the log: until then the client stays where it is.
   */
  #placeBefore(channel: string, last: Position | undefined): Position | undefined {
    if (last === undefined) return undefined;
    const next = this.#queue.find((event) => event.channel === channel && event.position !== undefined);
    if (next?.position === undefined) return last;
    if (isControl(next) || next.position.epoch !== last.epoch) return undefined;
    return { epoch: last.epoch, offset: Math.min(last.offset, next.position.offset - 1) };
  }
}

function keyFunctionOf(policy: SlowConsumerPolicy): ((event: StreamEvent) => string) | null {
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
