import type { HttpAnswer, StreamHead, OnLimit } from "../sse/http-answer.js";
import type { EncodedFrames } from "../sse/frame.js";
import type { OutboundMessage } from "../events/outbound-message.js";
import type { OnRuleError } from "../sync-callback.js";
import type { SlowConsumerPolicy } from "../backpressure/slow-consumer.js";
import type { StreamEvent } from "../events/inbound-event.js";
import type { SinkConnection } from "../peers/dead-peer-detector.js";

/**
 * The response of one client, as an adapter for a web framework provides it. An adapter only translates: the session decides
 * what is written and when.
 */
export interface Sink {
  /** True if nothing can reach the client any more. The session asks after each wait, because `close` comes only once. */
  readonly closed: boolean;
  /** Sends the status, the headers and the first block at once. Called at most once. Returns the same as `write()`. */
  start(head: StreamHead, block: EncodedFrames): boolean;
  /** Writes a block. Returns false if the block was taken, but the client must drain before the next one. */
  write(block: EncodedFrames): boolean;
  /** Bytes that were taken and that wait in this process. While there are any, no heartbeat is written. Defaults to 0. */
  readonly pendingBytes?: number;
  /** Ends the response after everything that was written. */
  end(): void;
  /** Drops the connection, with everything that waits for it. */
  destroy(): void;
  /** Sends one complete answer in place of a stream. Never called after `start()`. */
  answer(answer: HttpAnswer): void;
  /** Registers a listener. Returns a function that removes it; after that, another listener can be registered. */
  attach(listener: SinkListener): () => void;
  /** The TCP connection of the response. The service uses it to find clients that vanished. Defaults to none. */
  readonly connection?: SinkConnection | null;
}

/** Identifies the caller. A number counts as its text; `undefined` and `null` stand for no key. */
export type SessionKey = string | number | bigint | null | undefined;

/** What a sink reports to its session. */
export interface SinkListener {
  /** The client reads again, after `write()` or `start()` returned false. */
  onDrain(): void;
  /** The client has left, or the response is over. `failed` is true if a write failed for another reason. */
  onClose(failed: boolean): void;
}

/** The request behind a stream, and its settings. */
export interface StreamRequest {
  /** The HTTP method. `serveStream()` answers HEAD without a stream; `open()` ignores it. Defaults to GET. */
  readonly method?: string | undefined;
  /**
   * Identifies the caller by a user's id or an address, for logs and `maxSessionsPerKey`. A number counts as its text;
   * `undefined` and `null` stand for no key. A value of any other type is refused with code CONFIG.
   */
  readonly key?: SessionKey;
  /** How a stream over `maxSessionsPerKey` is handled; see `SseStreamOptions.onLimit`. Defaults to "event". */
  readonly onLimit?: OnLimit | undefined;
  /** The client's `Last-Event-ID`, as it came: anybody may have written it. */
  readonly lastEventId?: string | undefined;
  /** How a passing fault is answered; see `SseStreamOptions.onUnavailable`. Default "event". */
  readonly onUnavailable?: "event" | "status" | undefined;
  /** Milliseconds of silence before a heartbeat; `false` for none. Default: the service's. */
  readonly heartbeatMs?: number | false | undefined;
  /** Milliseconds a client waits before it comes back. Default: the service's. */
  readonly retryMs?: number | undefined;
  /**
   * What the client gets right after `connected`, before any event of its channels: the state that they go on from.
   * Refused as by `PubSubSession.send()`.
   */
  readonly first?: readonly OutboundMessage[] | undefined;
  /** What becomes of events that the client does not read in time. Default: the service's. */
  readonly slowConsumer?: SlowConsumerPolicy | undefined;
  /**
   * Whether an event is for this stream. This and the two below run in the asynchronous context (`AsyncLocalStorage`) in
   * which the stream was opened. What it throws is told as a `gap`, and the event is not sent.
   */
  readonly filter?: ((event: StreamEvent) => boolean | null | undefined) | undefined;
  /**
   * What this stream gets in an event's place; `null`: nothing. Streams that make the same of an event share its
   * encoded form. What it throws, or answers and cannot be sent, is told as a `gap`.
   */
  readonly transform?: ((event: StreamEvent) => OutboundMessage | null) | undefined;
  /**
   * Ends the stream (`completed`) after the first event, as it was published or sent to it alone, for which this answers
   * true, whether or not `filter` lets it through. Asked when the event comes, before it is written: one that the
   * stream ends with goes out with the id `completed`, so that a client that has it is answered 204 when it comes back.
   * One that has to wait for the client is not dropped, and the stream ends once it was written. What closes the session
   * while it is asked keeps the event from being written. Never asked of an event of a channel that was taken away.
   */
  readonly until?: ((event: StreamEvent) => boolean | null | undefined) | undefined;
  /** Told what a rule of this stream threw, or that it gave an answer that is none. Default: the log alone. */
  readonly onError?: OnRuleError | undefined;
}
