import type { HttpAnswer, StreamHead, OnLimit } from "../sse/http-answer.js";
import type { EncodedFrames } from "../sse/frame.js";
import type { OutboundMessage } from "../events/outbound-message.js";
import type { OnRuleError } from "../sync-callback.js";
import type { SlowConsumerPolicy } from "../backpressure/slow-consumer-policy.js";
import type { StreamEvent } from "../events/inbound-event.js";
import type { SinkConnection } from "../peers/dead-peer-detector.js";
import type { ResumePolicy } from "./resume-policy.js";
import type { RevalidationOptions } from "./revalidation.js";
import type { PubSubSession } from "./session.js";
import type { StreamTicket } from "./stream-ticket.js";

/**
 * The response of one client, as an adapter for a web framework provides it.
 *
 * An adapter only translates. The session decides what is written and when.
 */
export interface Sink {
  /** True if nothing can reach the client any more. The session checks it after each wait, because it can miss `onClose()`. */
  readonly closed: boolean;
  /** Sends the status, the headers and the first block together. Called at most once. Returns the same as `write()`. */
  start(head: StreamHead, block: EncodedFrames): boolean;
  /** Writes a block. Returns false if the block was accepted, but `onDrain()` must come before the next one. */
  write(block: EncodedFrames): boolean;
  /**
   * Accepted bytes that still wait in this process. While any wait, no heartbeat is written.
   *
   * @defaultValue 0
   */
  readonly pendingBytes?: number;
  /** Ends the response after all written blocks. */
  end(): void;
  /** Destroys the connection. Data that still waits for it is lost. */
  destroy(): void;
  /** Sends one complete HTTP answer instead of a stream. Never called after `start()`. */
  answer(answer: HttpAnswer): void;
  /** Registers a listener. Returns a function that removes it. Another listener can be registered after that. */
  attach(listener: SinkListener): () => void;
  /** The TCP connection of the response. The service uses it to find lost clients. */
  readonly connection?: SinkConnection | null;
}

/** Identifies the caller. A number counts as its text. `undefined` and `null` mean no key. */
export type SessionKey = string | number | bigint | null | undefined;

/** Gets the events of a sink. The session implements it. */
export interface SinkListener {
  /** The client can take more data, after `write()` or `start()` returned false. */
  onDrain(): void;
  /** The client has left, or the response has ended. `failed` is true if a write failed for another reason. */
  onClose(failed: boolean): void;
}

/** The request behind a stream, and its settings. */
export interface StreamRequest {
  /**
   * The HTTP method.
   *
   * `serveStream()` answers HEAD without a stream. `open()` ignores the method.
   *
   * @defaultValue "GET"
   */
  readonly method?: string | undefined;
  /**
   * Identifies the caller, for logs and `maxSessionsPerKey`.
   *
   * Use a user id or an address. A number counts as its text. `undefined` and `null` mean no key. The service refuses a
   * value of any other type with code CONFIG.
   */
  readonly key?: SessionKey;
  /**
   * How a stream over `maxSessionsPerKey` is handled.
   *
   * @see `SseStreamOptions.onLimit`
   * @defaultValue "event"
   */
  readonly onLimit?: OnLimit | undefined;
  /** The `Last-Event-ID` of the client. You need not validate it. It gives no rights. */
  readonly lastEventId?: string | undefined;
  /**
   * Where the stream starts if the client sends no `Last-Event-ID`.
   *
   * @see `SseStreamOptions.from`
   * @defaultValue "now"
   */
  readonly from?: "now" | "earliest" | undefined;
  /**
   * When the right to the stream ends.
   *
   * @see `StreamAccess.expiresAt`
   * @defaultValue the right does not end
   */
  readonly expiresAt?: Date | number | null | undefined;
  /**
   * How far back the client may resume.
   *
   * @see `SseStreamOptions.resume`
   * @defaultValue "all"
   */
  readonly resume?: ResumePolicy | undefined;
  /**
   * Checks the right to the open stream at regular intervals.
   *
   * @see `SseStreamOptions.revalidate`
   * @defaultValue no checks
   */
  readonly revalidate?: RevalidationOptions<PubSubSession> | undefined;
  /**
   * The ticket of the stream. The stream takes it when it starts, and releases it when it ends.
   * @internal
   */
  readonly ticket?: StreamTicket | undefined;
  /**
   * How a retryable error is answered.
   *
   * @see `SseStreamOptions.onUnavailable`
   * @defaultValue "event"
   */
  readonly onUnavailable?: "event" | "status" | undefined;
  /**
   * Milliseconds without data before a heartbeat; `false` turns heartbeats off.
   *
   * @defaultValue the service's `heartbeatMs`
   */
  readonly heartbeatMs?: number | false | undefined;
  /**
   * Milliseconds that a client waits before it reconnects.
   *
   * @defaultValue the service's `retryMs`
   */
  readonly retryMs?: number | undefined;
  /**
   * Events that the client gets after `connected` and before all events of its channels.
   *
   * The stream does not have events that are published before it is subscribed. If the state can change in that time, read
   * it when the stream is open, and send it with `PubSubSession.send()`.
   *
   * If an event is invalid, `open()` rejects with the same errors as `PubSubSession.send()`. Nothing is subscribed, and the
   * client gets no answer.
   */
  readonly first?: readonly OutboundMessage[] | undefined;
  /**
   * How the stream handles a slow client.
   *
   * @defaultValue the service's `slowConsumer`
   */
  readonly slowConsumer?: SlowConsumerPolicy | undefined;
  /**
   * Returns whether the client gets an event.
   *
   * If `filter` throws, the client gets a `gap` event instead of the event. `filter`, `transform` and `until` run in the
   * asynchronous context (`AsyncLocalStorage`) in which the stream was opened.
   */
  readonly filter?: ((event: StreamEvent) => boolean | null | undefined) | undefined;
  /**
   * Returns the message that the client gets instead of an event, or `null` to skip the event.
   *
   * Streams that return the same message share its encoded form. If `transform` throws, or returns an invalid message, the
   * client gets a `gap` event instead.
   */
  readonly transform?: ((event: StreamEvent) => OutboundMessage | null) | undefined;
  /**
   * Returns true for the last event of the stream. After this event, the server closes the stream with reason `completed`.
   *
   * `until` gets each event before `transform` changes it, and also events that `filter` rejects or `session.send()` sends.
   * It is called when the event arrives, before the event is written:
   *
   * - The last event has the id `completed`. A client that reconnects with this id is answered 204.
   * - If the client is slow, the last event is buffered and never dropped. The stream ends after the event is written.
   * - If `until` closes the session, the event is not written.
   * - `until` is not called for events of a removed channel.
   */
  readonly until?: ((event: StreamEvent) => boolean | null | undefined) | undefined;
  /**
   * Called if `filter`, `transform`, `until` or `latestBy` throws or returns an invalid value.
   *
   * Such errors are logged with or without this function.
   */
  readonly onError?: OnRuleError | undefined;
}
