import type { LogState } from "../../lib/replay/history-port.js";
import type { Ending } from "../../lib/events/inbound-event.js";
import type { Position } from "../../lib/sse/event-id.js";

/** The position of a channel that never had an event. */
export const EMPTY: Position = { epoch: "", offset: 0, since: 1_000, run: 0 };

/** The state of a log that holds all events up to a position. */
export function logState(
  position: Position,
  { ending = null, ...rest }: Partial<Omit<LogState, "position">> & { readonly ending?: Ending | null } = {},
): LogState {
  return {
    position,
    ending,
    finite: false,
    first: 1,
    at: 1_000,
    isInvalid: false,
    run: 0,
    mayHaveLost: false,
    readAt: 0,
    ...rest,
  };
}
