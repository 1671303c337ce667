import { randomUUID } from "node:crypto";

import type { RedisSseError } from "../errors.js";
import type { OutboundMessage } from "../events/outbound-message.js";
import type { SessionContext, SessionStatistics } from "./session-context.js";
import { SessionEffects } from "./session-effects.js";
import type { CloseReason, SessionState } from "./session-state.js";
import type { Sink, StreamRequest } from "./sink.js";

/** One client's stream, as an application has it. */
export class PubSubSession {
  readonly id: string = randomUUID();
  readonly #life: SessionEffects<PubSubSession>;

  /** Made by `RedisSse.open()`. */
  constructor(
    context: SessionContext<PubSubSession>,
    request: StreamRequest,
    sink: Sink,
    channels: readonly string[],
  ) {
    this.#life = new SessionEffects<PubSubSession>(this, context, request, sink, channels);
  }

  get state(): SessionState {
    return this.#life.snapshot.state;
  }

  /** Why the session ends or has ended; `null` while it is open. */
  get closeReason(): CloseReason | null {
    return this.#life.closeReason;
  }

  /** Resolves when the session is closed, for whatever reason. */
  get closed(): Promise<void> {
    return this.#life.closed;
  }

  get channels(): ReadonlySet<string> {
    return this.#life.channels.names;
  }

  /** The channels whose events it gets: none before it is subscribed. */
  get acknowledgedChannels(): readonly string[] {
    return this.#life.isOpen ? this.#life.channels.acknowledged : [];
  }

  get statistics(): SessionStatistics {
    return this.#life.statistics;
  }

  /**
   * Subscribes and goes live. Rejects when subscribing failed; by then the connection is given back and the
   * client told. Resolves when the client left meanwhile: `state` says so. Called once, by `RedisSse.open()`.
   */
  start(): Promise<void> {
    return this.#life.start();
  }

  /** Ends the stream to make room for a newer one of the same key. Called by the service. */
  evict(): void {
    this.#life.evict();
  }

  /**
   * Subscribes this stream to one more channel; resolves when Redis has acknowledged. Rejects with
   * `INVALID_CHANNEL`, `FORBIDDEN`, `LIMIT_CHANNELS`, `CLOSED`, `ABORTED` (taken away again meanwhile) or a
   * fault of Redis, and the channels stay as they were.
   */
  addChannel(name: string): Promise<void> {
    return this.#life.addChannel(name);
  }

  /** Takes a channel from this stream: none of its events is written once this was called. */
  removeChannel(name: string): Promise<void> {
    return this.#life.removeChannel(name);
  }

  /**
   * Sends one event to this client alone, in order with the others, without an id. Throws
   * `INVALID_EVENT`, `UNSERIALIZABLE`, `EVENT_TOO_LARGE`; does nothing once the session is closing.
   */
  send(message: OutboundMessage): void {
    this.#life.send(message);
  }

  /**
   * Ends the stream and gives everything back; resolves when that is done, within the deadlines of its
   * stages. Every call returns the same promise; the first one's reason counts. A fault is told to the
   * client as an `error` event, by its code and message.
   */
  close(reason: CloseReason = "app", fault: RedisSseError | null = null): Promise<void> {
    return this.#life.close(reason, fault);
  }
}
