import type { HttpAnswer, StreamHead } from "./answer.js";
import type { TcpEnds } from "./tcp-table.js";

/**
 * Where a session writes to: one client's response, as an adapter for some web framework gives it.
 * An adapter only translates; it decides nothing.
 */
export interface Sink {
  /** True once nothing can reach the client any more. Asked after every wait: `close` does not come twice. */
  readonly closed: boolean;
  /** Begins the event stream: status and headers go out with the first write. Called at most once. */
  start(head: StreamHead): void;
  /** Writes one whole frame. False: it was taken, but the client must drain before the next. */
  write(frame: Buffer): boolean;
  /** Ends the response after all that was written. */
  end(): void;
  /** Drops the connection with all that waits for it. */
  destroy(): void;
  /** Gives one complete answer in place of a stream. Never called after `start`. */
  answer(answer: HttpAnswer): void;
  /** Registers the session; the answer takes its listeners away again. */
  attach(listener: SinkListener): () => void;
  /** The connection beneath, where a client that vanishes without a word is to be found by it. */
  readonly connection?: SinkConnection | null;
}

/** A TCP connection, as `net.Socket` has it. Over HTTP/2 those of several sinks are one. */
export interface SinkConnection extends TcpEnds {
  /** With what it has ended. */
  readonly errored?: NodeJS.ErrnoException | null;
  setKeepAlive(enable: boolean, initialDelayMs: number): unknown;
  /** Drops it, with all that goes over it. */
  destroy(): unknown;
}

export interface SinkListener {
  onDrain(): void;
  /** The client is gone, or the response is over. `failed` when a write failed for another cause. */
  onClose(failed: boolean): void;
}

/** What a session knows of the request behind it. */
export interface StreamRequest {
  /** Who is asking: a user's id, an address. Named in logs, and what `maxSessionsPerKey` counts by. */
  readonly key?: string | undefined;
  /** The client's `Last-Event-ID`, as it came: anybody may have written it. */
  readonly lastEventId?: string | undefined;
  /** How a passing fault is answered; see `SseStreamOptions.onUnavailable`. Default "event". */
  readonly onUnavailable?: "event" | "status" | undefined;
  /** Milliseconds of silence before a heartbeat. Default: the service's. */
  readonly heartbeatMs?: number | undefined;
  /** Milliseconds a client waits before it comes back. Default: the service's. */
  readonly retryMs?: number | undefined;
  /** Ends the stream (`completed`) after the first event for which this answers true. */
  readonly until?: ((event: StreamEvent) => boolean) | undefined;
}

/** An event as `until` sees it. */
export interface StreamEvent {
  readonly channel: string;
  readonly event: string | undefined;
  readonly data: string;
}
