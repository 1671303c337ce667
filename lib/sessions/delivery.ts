import { monotonicNow, type Clock } from "../clock.js";
import type { CloseReason } from "../catalogue/close-reasons.js";
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
import { bindSlowConsumer, type SlowConsumerPolicy } from "../backpressure/slow-consumer-policy.js";
import type { StreamOutput, WriteResult } from "./stream-output.js";
import type { TransportListener } from "../subscriptions/transport.js";

/** The parts of the session that its delivery uses. */
export interface DeliveryOwner {
  /** The connection to Redis is lost. */
  lost(fault: RedisSseError): void;
  /** The buffered bytes have changed. */
  waiting(bytes: number): void;
  /** The last event of a channel was written, or no event is buffered any more. */
  ended(): void;
  dispatch(event: SessionEvent): void;
  end(reason: CloseReason, fault?: RedisSseError): void;
}

export interface DeliveryOptions {
  readonly owner: DeliveryOwner;
  readonly context: DeliveryContext;
  readonly request: StreamRequest;
  /** The channels of the session. */
  readonly channels: ReadonlySet<string>;
  readonly history: Replay;
  readonly cursor: SessionCursor;
  readonly output: StreamOutput;
}

/** The parts of the service that a delivery uses. */
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

/** Buffered events go out in writes of about this many characters. */
const WRITE_LENGTH = 64 * 1024;

/**
 * Delivers the events of one session to its client. It writes them while the client reads, buffers them while it does not,
 * and drops them after the session has ended.
 *
 * `deliver()` runs for each client and each event-loop turn. The values that it reads are fields of this object. With
 * thousands of clients, each further object would cause a CPU cache miss.
 */
export class Delivery implements TransportListener {
  /** See `HubMember.round`. */
  round = 0;
  readonly #owner: DeliveryOwner;
  readonly #channels: ReadonlySet<string>;
  readonly #history: Replay;
  readonly #cursor: SessionCursor;
  readonly #output: StreamOutput;
  readonly #context: DeliveryContext;
  readonly #policy: SlowConsumerPolicy;
  readonly #onError: StreamRequest["onError"];
  /** The rules of the stream; `null` without rules. */
  readonly #rules: EventRules | null;
  /** Created when the first event is buffered. */
  #backlog: Backlog | null = null;
  /** Whether events can be written now. */
  #isWritable = false;
  #isOver = false;
  /** The channel of the last batch. The next batch usually has the same channel, and needs no lookup. */
  #heard: string | null = null;
  /** Number of events that were gathered for a write. */
  #corked = 0;
  #sent = 0;
  #dropped = 0;
  #stalledAt = 0;
  /** For each channel, the position of the last skipped event. It counts after all buffered events of the channel. */
  #passed: Map<string, InboundEvent["position"]> | null = null;
  /** The event that ends the stream. It waits here while the client is missing events of other channels. */
  #last: InboundEvent | null = null;
  /** The channels that have such an event. Later events of these channels do not belong to the stream. */
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

  /** The time of the write that stalled the client, as `monotonicNow()`. Valid only while the flow is stalled. */
  get stalledAt(): number {
    return this.#stalledAt;
  }

  /** Notes the new state of the session. */
  follow(snapshot: SessionSnapshot): void {
    this.#isWritable = snapshot.state === "subscribed" && snapshot.flow !== "stalled";
    this.#isOver = snapshot.state === "closing" || snapshot.state === "closed";
  }

  /** Delivers live events. */
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

  /** The position of the client is not known any more. It reconnects, and gets the missed events or a gap. */
  failed(): void {
    this.#owner.end("write-error");
  }

  lost(fault: RedisSseError): void {
    this.#owner.lost(fault);
  }

  /** Delivers the next events. The client has none of them. */
  emitAll(batch: EventBatch): void {
    if (this.#isPlainPath()) return this.#writeAll(batch);
    this.#gather(() => batch.events.forEach((event) => this.emit(event)));
  }

  /** Delivers the next event. Writes it, or buffers it if the client is slow. */
  emit(event: InboundEvent): void {
    // A rule may have removed the channel when it got an earlier event.
    if (!this.#hears(event.channel)) return;
    let own: InboundEvent | null | undefined = event;
    if (this.#rules !== null) own = this.#select(event, this.#rules);
    // Or the rule removed it when it got this event. Then the client gets no event, and the stream does not end.
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

  /** More events are buffered than before. */
  held(): void {
    this.#owner.waiting(this.waitingBytes);
    const bufferedBytes = (this.#backlog?.boundedBytes ?? 0) + this.#history.waitingBytes;
    this.#owner.dispatch({ type: "buffered", bufferedBytes });
  }

  /** Fewer events are buffered than before. They were written, or the client already got them from the history. */
  released(): void {
    this.held();
    if (this.#isWritable) this.#owner.ended();
  }

  /** Gathers the following events for one write. */
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

  /** Writes buffered events while the client accepts them. */
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

  /** Writes a frame that is not an event, such as a heartbeat. */
  write(frame: string): void {
    this.#put(new EncodedFrames(frame), 0);
  }

  /** Notes the result of a write. `events` is the number of events in it, and 0 for a heartbeat. */
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

  /** Writes all buffered events to a response that is about to end, even if the client is slow. */
  writeRest(): void {
    this.#gather(() => {
      for (let event = this.#next(); event !== undefined; event = this.#next()) {
        this.#writeOne(event);
        // Later events and positions do not belong to this stream.
        if (event.isLast) return;
      }
      this.#skipPassed();
    });
  }

  /** The id of the client's current position, for the last event of its stream; `undefined` if the client has this id. */
  takeUntoldId(): string | undefined {
    return this.#cursor.isTold ? undefined : this.#cursor.takeId();
  }

  /** Drops buffered events that are in the history, and droppable events. Returns false if the stream must end instead. */
  relieve(): boolean {
    const before = this.waitingBytes;
    this.#history.relieve();
    const backlog = this.#backlog;
    const isRelieved = backlog === null || backlog.isEmpty || backlog.relieve();
    const after = this.waitingBytes;
    this.#owner.waiting(after);
    return isRelieved && after < before;
  }

  /** Drops the buffered events of a removed channel. */
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

  /** Gathers everything that `work` writes into one write, even if `work` throws. */
  #gather(work: () => void): void {
    this.cork();
    try {
      work();
    } finally {
      this.uncork();
    }
  }

  #accept(event: InboundEvent): void {
    // A rule may have removed the channel when it got the event before this one.
    if (this.#isOver || !this.#hears(event.channel)) this.#dropped++;
    else if (this.#history.admit(event)) this.emit(event);
  }

  /**
   * Applies the rules to an event. `until` runs before the event is written. A client that gets the last event must not
   * reconnect, and a client without it must reconnect.
   */
  #select(event: InboundEvent, rules: EventRules): InboundEvent | null {
    const own = rules.select(event);
    if (this.#isOver || !this.#hears(event.channel) || !rules.isLast(event)) return own;
    return { ...(own ?? silence(event)), isLast: true };
  }

  /**
   * Holds the event that ends the stream until the client has all events of the other channels. A client that gets this
   * event does not reconnect, and a resumed stream reads its channels one after the other. Returns `undefined` if the event
   * waits, or if it comes after such an event of its channel. If two channels have such an event, their order is unknown.
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
    // `Replay` uses the other quarter, for live events that wait for earlier events.
    return new Backlog({
      policy: this.#policy,
      maxBytes: settings.maxBufferedBytes * 0.75,
      onGap,
      budget,
      onRuleFailure,
      onError: this.#onError,
    });
  }

  /** Moves the position of the client past the skipped events. Called when no events are buffered. */
  #skipPassed(): void {
    for (const [channel, position] of this.#passed ?? [])
      this.#cursor.skip({ channel, ...(position && { position }) });
    this.#passed = null;
  }

  /** Removes and returns the oldest buffered event. Drops events of removed channels. */
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

  /** Whether events can be written at once and unchanged. */
  #isPlainPath(): boolean {
    return this.#rules === null && this.#isWritable;
  }

  #writeAll(batch: EventBatch): void {
    const block = this.#history.hasTracks ? this.#cursor.blockOf(batch) : batch.block;
    this.#put(block, batch.events.length - (batch.last.frame === NOTHING ? 1 : 0));
    if (batch.gaps !== null) batch.gaps.forEach((event) => this.#count(event));
    if (batch.last.ending !== undefined) this.#owner.ended();
  }

  /** Writes one event. If it is the last event of the stream, ends the stream. */
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

  /** Counts a gap that replaced an event for all sessions. Each client that gets it counts. */
  #count({ gap, channel }: InboundEvent): void {
    if (gap !== undefined) this.#context.onGap(gap, [channel]);
  }

  #put(block: EncodedFrames, events: number): void {
    // The end of a channel without an event only changes the id. The next block carries the id.
    if (block.text === NOTHING) return;
    const result = this.#output.write(block);
    if (result === "corked") this.#corked += events;
    else this.written(result, events);
  }
}
