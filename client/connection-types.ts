import type { EventMap } from "./define-events.js";
import type { Gap, Message } from "./message.js";
import type { Status } from "./status.js";

/** The data of the events that redis-sse itself sends. */
export interface ControlEvents {
  /** The first event of each connection. */
  readonly connected: {
    /** Identifies the stream in the monitoring events of the server. */
    readonly sessionId: string;
    /** The channels of the stream. */
    readonly channels: readonly string[];
    /** Whether the client gets every missed event that the history has. */
    readonly recovered: boolean;
    /** The interval of heartbeats in milliseconds; `null` without heartbeats. */
    readonly heartbeatMs: number | null;
  };
  /** Some events do not arrive. Also calls the handlers of `onGap`. */
  readonly gap: Gap;
  /** A retryable error, or with the code "BROKEN" a channel whose writer broke off. */
  readonly error: {
    /** The error code. */
    readonly code: string;
    /** What is wrong, for developers. */
    readonly message: string;
  };
  /** The server ends the connection. */
  readonly closing: {
    /** The close reason. */
    readonly reason: string;
  };
}

/** A stream that stays connected until it is closed. */
export interface StreamConnection<Events extends EventMap = EventMap> extends AsyncIterable<Message> {
  /** The current status. */
  readonly status: Status;
  /** The id of the last event. Empty before the first. */
  readonly lastEventId: string;
  /**
   * Calls `handler` for each control event of this type. The client handles these events itself: you need them only for details.
   * Returns a function that removes the handler.
   */
  on<Name extends keyof ControlEvents>(
    event: Name,
    handler: (data: ControlEvents[Name], message: Message) => void,
  ): () => void;
  /** Calls `handler` for each event of this type. Returns a function that removes the handler. */
  on<Name extends keyof Events & string>(
    event: Name,
    handler: (data: Events[Name], message: Message) => void,
  ): () => void;
  /** Calls `handler` when events were lost: load the current state again. Returns a function that removes the handler. */
  onGap(handler: (gap: Gap) => void): () => void;
  /** Calls `handler` at each change of the status. Returns a function that removes the handler. */
  onStatus(handler: (status: Status) => void): () => void;
  /**
   * Gives the events of the application, from now on, until the stream is closed. If 256 events are unread, the client stops
   * reading the stream.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Message, undefined>;
  /** Ends the stream, and calls only the handlers of `onStatus`. The stream cannot be opened again. */
  close(): void;
}
