import type { StreamMessage } from "./parser.js";

/** Why a connection ended, and what to do. */
export interface SourceEnd {
  /** A short stable text, for example "network", "http-502" or "completed". */
  readonly reason: string;
  /** Whether the client must not try again. */
  readonly isFinal: boolean;
  /** The server asks the client to wait at least this long, in milliseconds. */
  readonly retryAfterMs?: number;
  /** The error that ended the connection, if there is one. */
  readonly error?: unknown;
}

/** What a source needs for one connection. */
export interface SourceRequest {
  /** The id of the last event. Empty at first. */
  readonly lastEventId: string;
  /** The last connection was refused with 401. A token or ticket that was kept must be replaced. */
  readonly isRefused: boolean;
  /** Ends the connection. */
  readonly signal: AbortSignal;
}

/** What a source reports. */
export interface SourceListener {
  /** Something arrived, for example a heartbeat. */
  onActivity(): void;
  /** An event without data has the type "". It only carries an id. */
  onMessage(message: StreamMessage): void;
  /** The server asks the client to wait this long before it reconnects, in milliseconds. */
  onRetry(retryMs: number): void;
  /** Resolves when the listener can take the next message; `undefined` if it can now. */
  ready(): Promise<void> | undefined;
}

/**
 * Where the events come from. `connect()` makes a source from a URL. Another source could share one connection between tabs.
 */
export interface Source {
  /** Identifies the stream, for an id that outlives the page. Empty if the stream has no stable name. */
  readonly name: string;
  /** Opens one connection. Resolves when it has ended, for any reason. Never rejects. */
  open(request: SourceRequest, listener: SourceListener): Promise<SourceEnd>;
}
