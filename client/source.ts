import type { StreamMessage } from "./parser.js";

/** Why a connection ended, and what to do. */
export interface SourceEnd {
  /** A short stable text, such as "network", "http-502", "completed" or the code of an `error` event. */
  readonly reason: string;
  /** Whether another try can help. */
  readonly isFinal: boolean;
  /** The server asks the client to wait at least this long. */
  readonly retryAfterMs?: number;
}

/** What a source needs for one connection. */
export interface SourceRequest {
  /** The id of the last event. Empty at first. */
  readonly lastEventId: string;
  /** The last connection was refused with 401. A token that was kept must be replaced. */
  readonly isRefused: boolean;
  /** Ends the connection. */
  readonly signal: AbortSignal;
}

/** What a source tells. */
export interface SourceListener {
  /** Something arrived, for example a heartbeat. */
  onActivity(): void;
  /** An event without data has the type "". It only carries an id. */
  onMessage(message: StreamMessage): void;
  onRetry(retryMs: number): void;
  /** Resolves when the listener can take more. */
  ready(): Promise<void> | undefined;
}

/**
 * Where the events come from. `connect()` makes a source from a URL. Another source could share one connection between tabs.
 */
export interface Source {
  /** Identifies the stream, for an id that outlives the page. */
  readonly name: string;
  /** Opens one connection. Resolves when it has ended, for any reason. Never rejects. */
  open(request: SourceRequest, listener: SourceListener): Promise<SourceEnd>;
}
