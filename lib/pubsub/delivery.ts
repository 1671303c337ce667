import { monotonicNow, type Clock } from "../clock.js";
import { createLog } from "../log.js";
import { FrameBuffer } from "./frame-buffer.js";
import { isReservedEvent } from "./frame.js";
import type { InboundEvent } from "./inbound-event.js";
import type { CloseReason, SessionEvent, SessionSnapshot } from "./session-state.js";
import type { StreamEvent } from "./sink.js";
import type { StreamOutput, WriteResult } from "./stream-output.js";

/** The session, as its delivery sees it. */
export interface DeliveryOwner {
  snapshot(): SessionSnapshot;
  /** Whether the session still listens to this channel. */
  hears(channel: string): boolean;
  /** Whether an event is to go out now: the client has not had it, and misses none before it. */
  admits(event: InboundEvent): boolean;
  /** The event as it goes to this client. */
  frameOf(event: InboundEvent): Buffer;
  /** What waits for events before it, in bytes. */
  heldBytes(): number;
  /** The last event of a channel went out, or the last that waited. */
  ended(): void;
  dispatch(event: SessionEvent): void;
  end(reason: CloseReason): void;
}

const log = createLog("session");

/** The events of one session on their way out: written while it is live, held while it is not, dropped after. */
export class Delivery {
  readonly #owner: DeliveryOwner;
  readonly #output: StreamOutput;
  readonly #clock: Clock;
  readonly #until: ((event: StreamEvent) => boolean) | undefined;
  readonly #waiting = new FrameBuffer<InboundEvent>();
  #sent = 0;
  #dropped = 0;
  #stalledAt = 0;

  constructor(
    owner: DeliveryOwner,
    output: StreamOutput,
    clock: Clock,
    until: ((event: StreamEvent) => boolean) | undefined,
  ) {
    this.#owner = owner;
    this.#output = output;
    this.#clock = clock;
    this.#until = until;
  }

  get sent(): number {
    return this.#sent;
  }

  get dropped(): number {
    return this.#dropped;
  }

  get waitingBytes(): number {
    return this.#waiting.bytes + this.#owner.heldBytes();
  }

  /** Since when the client has been reading nothing, as `monotonicNow()`; meaningful while the flow is stalled. */
  get stalledAt(): number {
    return this.#stalledAt;
  }

  /** An event that has come live. */
  accept(event: InboundEvent): void {
    if (!this.#owner.hears(event.channel)) return;
    const { state } = this.#owner.snapshot();
    if (state === "closing" || state === "closed") this.#dropped++;
    else if (this.#owner.admits(event)) this.emit(event);
  }

  /** An event that is the next: written, or held as long as the client takes nothing. */
  emit(event: InboundEvent): void {
    const { state } = this.#owner.snapshot();
    if (this.#isWritable()) {
      this.#pass(event);
    } else if (state === "closing" || state === "closed") {
      this.#dropped++;
    } else {
      this.#waiting.push(event);
      this.held();
    }
  }

  /** More waits than before. */
  held(): void {
    this.#owner.dispatch({ type: "buffered", bufferedBytes: this.waitingBytes });
  }

  /** Writes what waits, as long as the client takes it. */
  flush(): void {
    while (this.#isWritable()) {
      const event = this.#next();
      if (event === undefined) return this.#owner.ended();
      this.#pass(event);
    }
  }

  /** Takes note of how a write went; also of those that are no event, as a heartbeat. */
  written(result: WriteResult, events = 0): void {
    if (result === "failed") this.#owner.end("write-error");
    else this.#sent += events;
    if (result !== "blocked" || !this.#isWritable()) return;
    this.#stalledAt = monotonicNow(this.#clock);
    this.#owner.dispatch({ type: "blocked" });
  }

  /** Hands all that waits to a response that is about to end, whether or not its client keeps up. */
  writeRest(): void {
    for (let event = this.#next(); event !== undefined; event = this.#next()) {
      if (this.#output.write(this.#owner.frameOf(event)) !== "failed") this.#sent++;
    }
  }

  /** Drops what waits of a channel that was taken away; it may come back. */
  forget(channel: string): void {
    const waiting: InboundEvent[] = [];
    for (let event = this.#waiting.shift(); event !== undefined; event = this.#waiting.shift()) {
      if (event.channel === channel) this.#dropped++;
      else waiting.push(event);
    }
    for (const event of waiting) this.#waiting.push(event);
  }

  dropRest(): void {
    this.#dropped += this.#waiting.clear();
  }

  /** The oldest that waits; those of a channel that was taken away meanwhile are dropped. */
  #next(): InboundEvent | undefined {
    for (;;) {
      const event = this.#waiting.shift();
      if (event === undefined || this.#owner.hears(event.channel)) return event;
      this.#dropped++;
    }
  }

  #isWritable(): boolean {
    const snapshot = this.#owner.snapshot();
    return snapshot.state === "subscribed" && snapshot.flow !== "stalled";
  }

  /** Writes one event, and ends the stream where it was the last. */
  #pass(event: InboundEvent): void {
    const result = this.#output.write(this.#owner.frameOf(event));
    if (result !== "failed") this.#sent++;
    this.written(result);
    if (event.ending !== undefined) this.#owner.ended();
    if (this.#until === undefined || isControl(event)) return;
    if (this.#isLast(this.#until, event)) this.#owner.end("completed");
  }

  #isLast(until: (event: StreamEvent) => boolean, { channel, event, data }: InboundEvent): boolean {
    try {
      return until({ channel, event, data });
    } catch (error) {
      log("until() threw: %s", error instanceof Error ? error.name : typeof error);
      return false;
    }
  }
}

/** Whether this library made the event: an application's `until` is asked about the application's events. */
function isControl({ event }: InboundEvent): boolean {
  return event !== undefined && isReservedEvent(event);
}
