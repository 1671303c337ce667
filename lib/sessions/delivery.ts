import { monotonicNow, type Clock } from "../clock.js";
import type { CloseReason } from "../close-reasons.js";
import type { RedisSseError } from "../errors.js";
import { Backlog } from "../backpressure/backlog.js";
import { EncodedFrames, NOTHING } from "../sse/frame.js";
import type { BufferBudget } from "../backpressure/buffer-budget.js";
import type { EventBatch } from "../events/event-batch.js";
import { EventRules, silence } from "./event-rules.js";
import type { Interruption } from "../replay/log-head.js";
import { sizeOf, type InboundEvent } from "../events/inbound-event.js";
import { NO_CHANNEL } from "../events/channel-name.js";
import type { GapReason } from "../events/gap.js";
import type { RuleName } from "../sync-callback.js";
import type { SessionCursor } from "../replay/session-cursor.js";
import type { Replay } from "../replay/replay.js";
import type { SessionEvent, SessionSnapshot } from "./session-state.js";
import type { StreamRequest } from "./sink.js";
import { bindSlowConsumer, type SlowConsumerPolicy } from "../backpressure/slow-consumer.js";
import type { StreamOutput, WriteResult } from "./stream-output.js";
import type { TransportListener } from "../subscriptions/transport.js";

/** The session, as its delivery sees it. */
export interface DeliveryOwner {
  /** The connection is lost for good. */
  lost(fault: RedisSseError): void;
  /** What waits has grown or shrunk. */
  waiting(bytes: number): void;
  /** The last event of a channel went out, or the last that waited. */
  ended(): void;
  dispatch(event: SessionEvent): void;
  end(reason: CloseReason, fault?: RedisSseError): void;
}

export interface DeliveryOptions {
  readonly owner: DeliveryOwner;
  readonly context: DeliveryContext;
  readonly request: StreamRequest;
  /** What the session listens to. */
  readonly channels: ReadonlySet<string>;
  readonly history: Replay;
  readonly cursor: SessionCursor;
  readonly output: StreamOutput;
}

/** What the service gives the deliveries of its sessions. */
export interface DeliveryContext {
  readonly clock: Clock;
  readonly settings: {
    readonly slowConsumer: SlowConsumerPolicy;
    readonly maxBufferedBytes: number;
    readonly maxEventBytes: number;
  };
  readonly budget: Pick<BufferBudget, "countDropped">;
  readonly onGap: (reason: GapReason, channels: readonly string[]) => void;
  readonly onRuleFailure: (rule: RuleName) => void;
}

/** The empty set that all streams share. Never add to it. */
const NONE_OVER: Set<string> = new Set();

/** From how much text on what waits goes out in one write, and the next in another. */
const WRITE_LENGTH = 64 * 1024;

/**
 * The events of one session on their way out: written while it is live, held while it is not, dropped after.
 *
 * `deliver()` is run for each client and each turn of the loop. What it asks on its way is kept here, at hand: with
 * thousands of clients each object that is looked at is one more that is in no cache.
 */
export class Delivery implements TransportListener {
  readonly #owner: DeliveryOwner;
  readonly #channels: ReadonlySet<string>;
  readonly #history: Replay;
  readonly #cursor: SessionCursor;
  readonly #output: StreamOutput;
  readonly #context: DeliveryContext;
  readonly #policy: SlowConsumerPolicy;
  readonly #onError: StreamRequest["onError"];
  /** What the application wants to be asked about each event; `null`: nothing. */
  readonly #rules: EventRules | null;
  /** There once something has waited. */
  #backlog: Backlog | null = null;
  /** The client takes events. */
  #isWritable = false;
  #isOver = false;
  /** The channel that was heard last: nearly always the one that is heard next, and need not be looked up. */
  #heard: string | null = null;
  /** Events that are gathered for a write. */
  #corked = 0;
  #sent = 0;
  #dropped = 0;
  #stalledAt = 0;
  /** By channel, how far the client was passed over events while it read nothing: behind all that waits of it. */
  #passed: Map<string, InboundEvent["position"]> | null = null;
  /** The event that ends the stream. It waits here while events of other channels are missing. */
  #last: InboundEvent | null = null;
  /** The channels in which such an event came. Their later events are not part of the stream. */
  #over: Set<string> = NONE_OVER;

  constructor({ owner, context, request, channels, history, cursor, output }: DeliveryOptions) {
    this.#owner = owner;
    this.#context = context;
    this.#channels = channels;
    this.#history = history;
    this.#cursor = cursor;
    this.#output = output;
    this.#policy = bindSlowConsumer(request.slowConsumer ?? context.settings.slowConsumer);
    this.#onError = request.onError;
    this.#rules = EventRules.of(request, context);
  }

  get sent(): number {
    return this.#sent;
  }

  get dropped(): number {
    return this.#dropped + (this.#backlog?.dropped ?? 0);
  }

  get waitingBytes(): number {
    const last = this.#last === null ? 0 : sizeOf(this.#last);
    return (this.#backlog?.bytes ?? 0) + this.#history.waitingBytes + last;
  }

  /** Since when the client has been reading nothing, as `monotonicNow()`; meaningful while the flow is stalled. */
  get stalledAt(): number {
    return this.#stalledAt;
  }

  /** The session's state has changed. */
  follow(snapshot: SessionSnapshot): void {
    this.#isWritable = snapshot.state === "subscribed" && snapshot.flow !== "stalled";
    this.#isOver = snapshot.state === "closing" || snapshot.state === "closed";
  }

  /** Events that have come live. */
  deliver(batch: EventBatch): void {
    if (batch.channel !== this.#heard) {
      if (!this.#hears(batch.channel)) return;
      this.#heard = batch.channel;
    }
    if (this.#isOver) {
      this.#dropped += batch.events.length;
    } else if (this.#isPlainPath() && this.#history.admitAll(batch)) {
      this.#writeAll(batch);
    } else {
      this.#gather(() => batch.events.forEach((event) => this.#accept(event)));
    }
  }

  interrupted(interruptions: readonly Interruption[]): void {
    this.#history.interrupted(interruptions);
  }

  refused(_channel: string, fault: RedisSseError): void {
    this.#owner.end("revoked", fault);
  }

  /** How far it has come is not known any more: the client comes back, and is told or given what it has missed. */
  failed(): void {
    this.#owner.end("write-error");
  }

  lost(fault: RedisSseError): void {
    this.#owner.lost(fault);
  }

  /** Events that are the next, and none of which the client has had. */
  emitAll(batch: EventBatch): void {
    if (this.#isPlainPath()) return this.#writeAll(batch);
    this.#gather(() => batch.events.forEach((event) => this.emit(event)));
  }

  /** An event that is the next: written, or held as long as the client takes nothing. */
  emit(event: InboundEvent): void {
    // A rule may have taken the channel away with an event before this one.
    if (!this.#hears(event.channel)) return;
    let own: InboundEvent | null | undefined = event;
    if (this.#rules !== null) own = this.#select(event, this.#rules);
    // Or with this one: what the client does not get of it does not end its stream either.
    if (this.#rules !== null && !this.#hears(event.channel)) return;
    if (this.#last !== null || own?.isLast) own = this.#waitForOthers(event.channel, own);
    if (own === undefined) return;
    if (this.#isWritable) {
      if (own === null) this.#cursor.skip(event);
      else this.#pass(own);
    } else if (this.#isOver) {
      this.#dropped++;
    } else if (own !== null) {
      this.#wait(own);
    } else if (event.position !== undefined) {
      (this.#passed ??= new Map()).set(event.channel, event.position);
    }
  }

  caughtUp(): void {
    const last = this.#last;
    this.#last = null;
    if (last === null) return;
    if (this.#isWritable) this.#pass(last);
    else if (!this.#isOver) this.#wait(last);
  }

  /** More waits than before. */
  held(): void {
    this.#owner.waiting(this.waitingBytes);
    const bufferedBytes = (this.#backlog?.boundedBytes ?? 0) + this.#history.waitingBytes;
    this.#owner.dispatch({ type: "buffered", bufferedBytes });
  }

  /** Less waits than before: it was written, or the client has had it from the log. */
  released(): void {
    this.held();
    if (this.#isWritable) this.#owner.ended();
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
    while (this.#isWritable && this.#backlog?.isEmpty === false) {
      this.#gather(() => {
        while (this.#isWritable && this.#output.corkedLength < WRITE_LENGTH) {
          const event = this.#next();
          if (event === undefined) break;
          this.#pass(event);
        }
      });
    }
    this.#owner.waiting(this.waitingBytes);
    if (!this.#isWritable) return;
    this.#skipPassed();
    this.#owner.ended();
  }

  /** Writes what is no event, as a heartbeat. */
  write(frame: string): void {
    this.#put(new EncodedFrames(frame), 0);
  }

  /** Takes note of how a write went; also of those that are no event, as a heartbeat. */
  written(result: WriteResult, events = 0): void {
    if (result === "failed") {
      this.#dropped += events;
      this.#owner.end("write-error");
    } else {
      this.#sent += events;
    }
    if (result !== "blocked" || !this.#isWritable) return;
    this.#stalledAt = monotonicNow(this.#context.clock);
    this.#owner.dispatch({ type: "blocked" });
  }

  /** Hands all that waits to a response that is about to end, whether or not its client keeps up. */
  writeRest(): void {
    this.#gather(() => {
      for (let event = this.#next(); event !== undefined; event = this.#next()) {
        this.#writeOne(event);
        // What came behind it is no part of this stream, nor a place to come back from.
        if (event.isLast) return;
      }
      this.#skipPassed();
    });
  }

  /** The id of the client's latest place, for the last event of its stream; `undefined` if the client knows it. */
  takeUntoldId(): string | undefined {
    return this.#cursor.isTold ? undefined : this.#cursor.takeId();
  }

  /** Gives up what is in a log as well, and drops what may be dropped; false when that is nothing. */
  relieve(): boolean {
    const before = this.waitingBytes;
    this.#history.relieve();
    const backlog = this.#backlog;
    const isRelieved = backlog === null || backlog.isEmpty || backlog.relieve();
    const after = this.waitingBytes;
    this.#owner.waiting(after);
    return isRelieved && after < before;
  }

  /** Drops what waits of a channel that was taken away. */
  forget(channel: string): void {
    this.#heard = null;
    if (this.#last?.channel === channel) this.#last = null;
    else if (this.#last !== null && !this.#history.isBehindBeside(this.#last.channel)) this.caughtUp();
    this.#backlog?.forget(channel);
    this.#passed?.delete(channel);
    this.#owner.waiting(this.waitingBytes);
  }

  dropRest(): void {
    this.#backlog?.clear();
    this.#last = null;
    this.#owner.waiting(0);
  }

  /** One write for all that `work` writes, whatever it throws. */
  #gather(work: () => void): void {
    this.cork();
    try {
      work();
    } finally {
      this.uncork();
    }
  }

  #accept(event: InboundEvent): void {
    // A rule that was asked about the event before may have taken the channel away.
    if (this.#isOver || !this.#hears(event.channel)) this.#dropped++;
    else if (this.#history.admit(event)) this.emit(event);
  }

  /**
   * The event as the application wants it. Whether the stream ends with it is known before any of it goes out: a client
   * that has it must not come back for more, and one that has not, must.
   */
  #select(event: InboundEvent, rules: EventRules): InboundEvent | null {
    const own = rules.select(event);
    if (this.#isOver || !this.#hears(event.channel) || !rules.isLast(event)) return own;
    return { ...(own ?? silence(event)), isLast: true };
  }

  /**
   * A resumed stream reads its channels one after the other. The event that ends the stream waits until the other
   * channels have been read too: a client that has this event never reconnects. Returns `undefined` if the event
   * waits, or if it comes after such an event of its channel. If two channels have such an event, their order is
   * unknown.
   */
  #waitForOthers(channel: string, own: InboundEvent | null): InboundEvent | null | undefined {
    if (this.#last === null) {
      if (!this.#history.isBehindBeside(channel)) return own;
      this.#last = own;
      this.#over = new Set([channel]);
      return undefined;
    }
    if (own?.isLast) this.#over.add(channel);
    return this.#over.has(channel) ? undefined : own;
  }

  #wait(event: InboundEvent): void {
    this.#passed?.delete(event.channel);
    (this.#backlog ??= this.#createBacklog()).push(event);
    this.held();
  }

  #createBacklog(): Backlog {
    const { settings, budget, onGap, onRuleFailure } = this.#context;
    // A quarter is for live events that wait for those before them.
    return new Backlog({
      policy: this.#policy,
      maxBytes: settings.maxBufferedBytes * 0.75,
      onGap,
      budget,
      onRuleFailure,
      onError: this.#onError,
    });
  }

  /** Nothing waits any more. */
  #skipPassed(): void {
    for (const [channel, position] of this.#passed ?? [])
      this.#cursor.skip({ channel, ...(position && { position }) });
    this.#passed = null;
  }

  /** The oldest that waits; those of a channel that was taken away meanwhile are dropped. */
  #next(): InboundEvent | undefined {
    for (;;) {
      const event = this.#backlog?.shift();
      if (event === undefined || this.#hears(event.channel)) return event;
      this.#dropped++;
    }
  }

  #hears(channel: string): boolean {
    return channel === NO_CHANNEL || this.#channels.has(channel);
  }

  /** Whether events go out as they are, with nobody asked about each. */
  #isPlainPath(): boolean {
    return this.#rules === null && this.#isWritable;
  }

  #writeAll(batch: EventBatch): void {
    const block = this.#history.hasTracks ? this.#cursor.blockOf(batch) : batch.block;
    this.#put(block, batch.events.length - (batch.last.frame === NOTHING ? 1 : 0));
    if (batch.gaps !== null) batch.gaps.forEach((event) => this.#count(event));
    if (batch.last.ending !== undefined) this.#owner.ended();
  }

  /** Writes one event, and ends the stream where it was the last. */
  #pass(event: InboundEvent): void {
    this.#writeOne(event);
    if (event.ending !== undefined) this.#owner.ended();
    if (event.isLast) this.#owner.end("completed");
  }

  #writeOne(event: InboundEvent): void {
    const frame = event.isLast ? this.#cursor.lastFrameOf(event) : this.#cursor.frameOf(event);
    this.#put(new EncodedFrames(frame), event.frame === NOTHING ? 0 : 1);
    this.#count(event);
  }

  /** A gap that was made as an event was read, for all at once, is counted where a client is told. */
  #count({ gap, channel }: InboundEvent): void {
    if (gap !== undefined) this.#context.onGap(gap, [channel]);
  }

  #put(block: EncodedFrames, events: number): void {
    // A channel's end without an event changes only the id, which goes out with the next block.
    if (block.text === NOTHING) return;
    const result = this.#output.write(block);
    if (result === "corked") this.#corked += events;
    else this.written(result, events);
  }
}
