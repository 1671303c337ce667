import { monotonicNow, type Clock } from "../clock.js";
import type { Backlog } from "./backlog.js";
import { Block } from "./block.js";
import type { EventBatch } from "./event-batch.js";
import type { EventRules } from "./event-rules.js";
import { NO_CHANNEL, type InboundEvent } from "./inbound-event.js";
import type { SessionCursor } from "./session-cursor.js";
import type { SessionHistory } from "./session-history.js";
import type { CloseReason, SessionEvent, SessionSnapshot } from "./session-state.js";
import type { StreamOutput, WriteResult } from "./stream-output.js";

/** The session, as its delivery sees it. */
export interface DeliveryOwner {
  snapshot(): SessionSnapshot;
  /** What waits has grown or shrunk. */
  waiting(bytes: number): void;
  /** The last event of a channel went out, or the last that waited. */
  ended(): void;
  dispatch(event: SessionEvent): void;
  end(reason: CloseReason): void;
}

export interface DeliveryOptions {
  readonly owner: DeliveryOwner;
  /** What the session listens to. */
  readonly channels: ReadonlySet<string>;
  readonly history: SessionHistory;
  readonly cursor: SessionCursor;
  readonly output: StreamOutput;
  readonly backlog: Backlog;
  readonly clock: Clock;
  /** What the application wants to be asked about each event; `null`: nothing. */
  readonly rules: EventRules | null;
}

/** From how much text on what waits goes out in one write, and the next in another. */
const WRITE_LENGTH = 64 * 1024;

/** The events of one session on their way out: written while it is live, held while it is not, dropped after. */
export class Delivery {
  readonly #owner: DeliveryOwner;
  readonly #channels: ReadonlySet<string>;
  readonly #history: SessionHistory;
  readonly #cursor: SessionCursor;
  readonly #output: StreamOutput;
  readonly #backlog: Backlog;
  readonly #clock: Clock;
  readonly #rules: EventRules | null;
  /** Events that are gathered for a write. */
  #corked = 0;
  #sent = 0;
  #dropped = 0;
  #stalledAt = 0;

  constructor({ owner, channels, history, cursor, output, backlog, clock, rules }: DeliveryOptions) {
    this.#owner = owner;
    this.#channels = channels;
    this.#history = history;
    this.#cursor = cursor;
    this.#output = output;
    this.#backlog = backlog;
    this.#clock = clock;
    this.#rules = rules;
  }

  get sent(): number {
    return this.#sent;
  }

  get dropped(): number {
    return this.#dropped + this.#backlog.dropped;
  }

  get waitingBytes(): number {
    return this.#backlog.bytes + this.#history.waitingBytes;
  }

  /** Since when the client has been reading nothing, as `monotonicNow()`; meaningful while the flow is stalled. */
  get stalledAt(): number {
    return this.#stalledAt;
  }

  /** Events that have come live. */
  accept(batch: EventBatch): void {
    if (!this.#hears(batch.channel)) return;
    const { state } = this.#owner.snapshot();
    if (state === "closing" || state === "closed") {
      this.#dropped += batch.events.length;
    } else if (this.#isPlainPath() && this.#history.admitAll(batch)) {
      this.#writeAll(batch);
    } else {
      this.cork();
      for (const event of batch.events) this.#accept(event);
      this.uncork();
    }
  }

  /** Events that are the next, and none of which the client has had. */
  emitAll(batch: EventBatch): void {
    if (this.#isPlainPath()) return this.#writeAll(batch);
    this.cork();
    for (const event of batch.events) this.emit(event);
    this.uncork();
  }

  /** An event that is the next: written, or held as long as the client takes nothing. */
  emit(event: InboundEvent): void {
    // A rule may have taken the channel away with an event before this one.
    if (!this.#hears(event.channel)) return;
    const own = this.#rules === null ? event : this.#rules.select(event);
    const { state } = this.#owner.snapshot();
    if (this.#isWritable()) {
      if (own === null) this.#cursor.skip(event);
      else this.#pass(own);
    } else if (state === "closing" || state === "closed") {
      this.#dropped++;
    } else if (own !== null) {
      this.#backlog.push(own);
      this.held();
    }
  }

  /** More waits than before. */
  held(): void {
    const bufferedBytes = this.waitingBytes;
    this.#owner.waiting(bufferedBytes);
    this.#owner.dispatch({ type: "buffered", bufferedBytes });
  }

  /** Gathers what is written from now on, for one write. */
  cork(): void {
    this.#output.cork();
  }

  uncork(): void {
    const result = this.#output.uncork();
    if (result === "corked") return;
    const events = this.#corked;
    this.#corked = 0;
    this.written(result, events);
  }

  /** Writes what waits, as long as the client takes it. */
  flush(): void {
    while (this.#isWritable() && !this.#backlog.isEmpty) {
      this.cork();
      while (this.#isWritable() && this.#output.corkedLength < WRITE_LENGTH) {
        const event = this.#next();
        if (event === undefined) break;
        this.#pass(event);
      }
      this.uncork();
    }
    this.#owner.waiting(this.waitingBytes);
    if (this.#isWritable()) this.#owner.ended();
  }

  /** Writes what is no event, as a heartbeat. */
  write(frame: string): void {
    this.#put(new Block(frame), 0);
  }

  /** Takes note of how a write went; also of those that are no event, as a heartbeat. */
  written(result: WriteResult, events = 0): void {
    if (result === "failed") {
      this.#dropped += events;
      this.#owner.end("write-error");
    } else {
      this.#sent += events;
    }
    if (result !== "blocked" || !this.#isWritable()) return;
    this.#stalledAt = monotonicNow(this.#clock);
    this.#owner.dispatch({ type: "blocked" });
  }

  /** Hands all that waits to a response that is about to end, whether or not its client keeps up. */
  writeRest(): void {
    this.cork();
    for (let event = this.#next(); event !== undefined; event = this.#next()) {
      this.#put(new Block(this.#cursor.frameOf(event)), 1);
    }
    this.uncork();
  }

  /** Drops what may be dropped; false when that is nothing. */
  relieve(): boolean {
    const hasDropped = this.#backlog.relieve();
    if (hasDropped) this.#owner.waiting(this.waitingBytes);
    return hasDropped;
  }

  /** Drops what waits of a channel that was taken away. */
  forget(channel: string): void {
    this.#backlog.forget(channel);
    this.#owner.waiting(this.waitingBytes);
  }

  dropRest(): void {
    this.#backlog.clear();
    this.#owner.waiting(0);
  }

  #accept(event: InboundEvent): void {
    const { state } = this.#owner.snapshot();
    if (state === "closing" || state === "closed") this.#dropped++;
    else if (this.#history.admit(event)) this.emit(event);
  }

  /** The oldest that waits; those of a channel that was taken away meanwhile are dropped. */
  #next(): InboundEvent | undefined {
    for (;;) {
      const event = this.#backlog.shift();
      if (event === undefined || this.#hears(event.channel)) return event;
      this.#dropped++;
    }
  }

  #hears(channel: string): boolean {
    return channel === NO_CHANNEL || this.#channels.has(channel);
  }

  #isWritable(): boolean {
    const snapshot = this.#owner.snapshot();
    return snapshot.state === "subscribed" && snapshot.flow !== "stalled";
  }

  /** Whether events go out as they are, with nobody asked about each. */
  #isPlainPath(): boolean {
    return this.#rules === null && this.#isWritable();
  }

  #writeAll(batch: EventBatch): void {
    this.#put(this.#cursor.blockOf(batch), batch.events.length);
    if (batch.last.ending !== undefined) this.#owner.ended();
  }

  /** Writes one event, and ends the stream where it was the last. */
  #pass(event: InboundEvent): void {
    this.#put(new Block(this.#cursor.frameOf(event)), 1);
    if (event.ending !== undefined) this.#owner.ended();
    if (this.#rules?.isLast(event)) this.#owner.end("completed");
  }

  #put(block: Block, events: number): void {
    const result = this.#output.write(block);
    if (result === "corked") this.#corked += events;
    else this.written(result, events);
  }
}
