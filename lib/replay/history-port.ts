import type { Position } from "../sse/event-id.js";
import type { InboundEvent } from "../events/inbound-event.js";

import type { Ending } from "../events/inbound-event.js";
/** Where a channel's log stands. */
export interface Tail {
  /** The position of the newest event. Its epoch is empty if there is no log. */
  readonly position: Position;
  readonly ending: Ending | null;
  /** Whether it is to be completed one day: then a reader who comes late gets it from its beginning. */
  readonly finite: boolean;
  /** The time of the read or shortly before, in milliseconds of Redis' clock. */
  readonly at: number;
  /** The run of the server that was read, as `ServerRun.id`. */
  readonly run: number;
  /** That run may have lost data of the run before: a channel without a log may have lost one. */
  readonly mayHaveLost: boolean;
  /** Another program has damaged the log, so it counts as no log. */
  readonly isInvalid: boolean;
}

/** The state of a log, as one read found it. */
export interface LogState extends Tail {
  /** When the read was begun, as `HistoryPort.now()`. */
  readonly readAt: number;
  /** The offset of the oldest event that is held; one more than the newest offset if no event is held. */
  readonly first: number;
}

/** Some events of a log, in order and without a hole, and the state of the log from the same read. */
export interface LogPage extends LogState {
  /** The stamp of the event before the page, as the log has it; 0 if unknown. */
  readonly previousStamp: number;
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
   * log has another epoch by now. A page that has events may have been read earlier, for another session, if it is still
   * valid for a log that stands at `known.top` (`null`: not known); one without was read after `known.since`. Rejects with
   * a fault of Redis.
   */
  read(channel: string, after: Position, known: { since: number; top: Position | null }): Promise<LogPage>;
  /**
   * Returns the page of events that follow `after` if another session read it a moment ago and it is still valid for
   * a log that stands at `top`. Otherwise returns `null`. Does not read from Redis.
   */
  peek(channel: string, after: Position, top: Position): Promise<LogPage | null>;
  /** Drops the pages of a channel whose log has lost events. */
  forget(channel: string): void;
  /** The state of the log without its events, read after `since`. Rejects with a fault of Redis. */
  tail(channel: string, since: number): Promise<LogState>;
  /** Whether a log may begin without a message: that of a task whose channel nobody was seen to listen to. */
  beginsSilently(channel: string): boolean;
  /** The least time, in milliseconds, for which Redis remembers a log after its newest event. */
  memoryMs(channel: string): number;
}
