import type { Position } from "./cursor.js";
import type { InboundEvent } from "./inbound-event.js";

/** How a channel was ended: by its publisher, or because that one was lost half-way. */
export type Ending = "completed" | "broken";

/** Where a channel's log stands. */
export interface Tail {
  /** The newest event. */
  readonly position: Position;
  readonly ending: Ending | null;
  /** Whether it is to be completed one day: then a reader who comes late gets it from its beginning. */
  readonly finite: boolean;
}

/** Some events of a log, in their order and without a hole between them, and where the log stood when they were read. */
export interface LogPage extends Tail {
  readonly events: readonly (InboundEvent & { readonly position: Position })[];
  /** When the read was begun, as `HistoryPort.now()`. */
  readonly readAt: number;
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
  /** Where the log stands, read after `since`. Rejects with a fault of Redis. */
  tail(channel: string, since: number): Promise<Tail & { readonly readAt: number }>;
}
