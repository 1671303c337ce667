import type { Position } from "./cursor.js";
import type { InboundEvent } from "./inbound-event.js";

/** How a channel was ended: by its publisher, or because that one was lost half-way. */
export type Ending = "completed" | "broken";

/** Where a channel's log stands. */
export interface Tail {
  /** The newest event; the position of no log where there is none. */
  readonly position: Position;
  readonly ending: Ending | null;
  /** Whether it is to be completed one day: then a reader who comes late gets it from its beginning. */
  readonly finite: boolean;
  /** When this was read, or a little before, in milliseconds of Redis' clock. */
  readonly at: number;
  /** The run of the server that said so, as `ServerRun.id`. */
  readonly run: number;
  /** That run started without data: a channel that had no log before may have had one that is lost. */
  readonly startedEmpty: boolean;
  /** Another program has changed the log, and it cannot be read: it counts as no log. */
  readonly isInvalid: boolean;
}

/** What one read says of a log. */
export interface LogState extends Tail {
  /** When the read was begun, as `HistoryPort.now()`. */
  readonly readAt: number;
  /** The offset of the oldest event that is held; behind the newest where none is. */
  readonly first: number;
}

/** Some events of a log, in their order and without a hole between them, and what the same read says of the log. */
export interface LogPage extends LogState {
  readonly events: readonly (InboundEvent & { readonly position: Position })[];
}

/** The logs, as sessions and hub see them. */
export interface HistoryPort {
  /** Whether events of this channel are kept. */
  keeps(channel: string): boolean;
  /** Counts reads: by it, what was read after something happened is told from what was read before. */
  now(): number;
  /**
   * The events that follow `after`, from the first that is still held, at most a page of them; none when the
   * log has another epoch by now. A page that has events may have been read earlier, for another session, unless
   * with the log at `known.top` what follows it may be gone; one without was read after `known.since`. Rejects
   * with a fault of Redis.
   */
  read(channel: string, after: Position, known: { since: number; top: number }): Promise<LogPage>;
  /**
   * A page with the events that follow `after`, if it was read for another session a moment ago and holds what follows it in
   * a log at `top`; `null` otherwise. Reads nothing.
   */
  peek(channel: string, after: Position, top: number): Promise<LogPage | null>;
  /** Where the log stands, read after `since`: none of its events is. Rejects with a fault of Redis. */
  tail(channel: string, since: number): Promise<LogState>;
  /** For how many milliseconds at least Redis knows of a log after its newest event. */
  memoryMs(channel: string): number;
}
