import type { Position } from "../sse/event-id.js";
import type { InboundEvent } from "../events/inbound-event.js";

import type { Ending } from "../events/inbound-event.js";
/** The newest position of a history and related facts, as one read found them. */
export interface Tail {
  /** The position of the newest event. Its epoch is empty if the history does not exist. */
  readonly position: Position;
  readonly ending: Ending | null;
  /** Whether the channel will be completed. A new client of such a channel gets all its events from the first one. */
  readonly finite: boolean;
  /** The time of the read or shortly before, in milliseconds of the Redis clock. */
  readonly at: number;
  /** The run of the Redis server that answered, as `ServerRun.id`. */
  readonly run: number;
  /** Whether this run may have lost data of the run before. Then a history that does not exist may have been lost. */
  readonly mayHaveLost: boolean;
  /** Whether another program has damaged the history. Then it counts as lost. */
  readonly isInvalid: boolean;
}

/** The state of a history, as one read found it. */
export interface LogState extends Tail {
  /** When the read started, as `HistoryPort.now()`. */
  readonly readAt: number;
  /** The offset of the oldest stored event. If no event is stored, it is the newest offset plus one. */
  readonly first: number;
}

/** Consecutive events of a history, and the state of the history from the same read. */
export interface LogPage extends LogState {
  /** The stamp of the event before the page, as stored in the history; 0 if unknown. */
  readonly previousStamp: number;
  readonly events: readonly (InboundEvent & { readonly position: Position })[];
}

/** The histories of all channels, as sessions and the hub use them. */
export interface HistoryPort {
  /** Whether this channel has a history. */
  keeps(channel: string): boolean;
  /** A logical clock that counts reads. It shows whether a read started before or after something happened. */
  now(): number;
  /**
   * Returns at most one page of the events after `after`. Starts with the oldest of them that is still stored. Returns no
   * events if the history now has another epoch.
   *
   * A page with events may be from an earlier read of another session, if it is still valid for a history whose newest
   * position is `known.top` (`null` if unknown). A page without events was read after `known.since`. Rejects with a Redis
   * error.
   */
  read(channel: string, after: Position, known: { since: number; top: Position | null }): Promise<LogPage>;
  /**
   * Returns the page of events after `after`, if another session read it a moment ago, and it is still valid for a history
   * whose newest position is `top`. Otherwise returns `null`. Does not read from Redis.
   */
  peek(channel: string, after: Position, top: Position): Promise<LogPage | null>;
  /** Drops the cached pages of a channel whose history has lost events. */
  forget(channel: string): void;
  /**
   * Returns the state of the history without its events, read after `since`. The state may come from a read of another session that
   * ended at most `maxAgeMs` ago. With the default 0, only a read that is still running is shared. Rejects with a Redis error.
   */
  tail(channel: string, since: number, maxAgeMs?: number): Promise<LogState>;
  /** Whether the history may start without a message. This can happen for a task if no client was known at its start. */
  beginsSilently(channel: string): boolean;
  /** How long Redis remembers a history after its newest event, at least, in milliseconds. */
  memoryMs(channel: string): number;
}
