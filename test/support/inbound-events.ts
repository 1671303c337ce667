import { encodeEvent } from "../../lib/sse/frame.js";
import type { Ending } from "../../lib/events/inbound-event.js";
import type { InboundEvent, LoggedInboundEvent } from "../../lib/events/inbound-event.js";

export const EPOCH = "0badcafe";

/** An event that is not in a history, as any program can publish it. */
export function plainEvent(channel: string, data: string): InboundEvent {
  return { channel, event: undefined, data, frame: encodeEvent({ data }) };
}

export interface LoggedOptions {
  readonly epoch?: string;
  readonly ending?: Ending;
  /** Its epoch and the epoch of the event before it. Unknown by default. */
  readonly stamp?: number;
  readonly previousStamp?: number;
  /** Defaults to its position. */
  readonly data?: string;
}

/** An event at a position in the history of its channel. */
export function loggedEvent(
  channel: string,
  offset: number,
  { epoch = EPOCH, ending, data = `${channel}${offset}`, ...stamps }: LoggedOptions = {},
): LoggedInboundEvent {
  const event = { ...plainEvent(channel, data), position: { epoch, offset, ...stamps } };
  return ending === undefined ? event : { ...event, ending };
}

/** The same event as a Redis message. */
export function loggedMessage(
  channel: string,
  offset: number,
  { epoch = EPOCH, ending, data = `${channel}${offset}` }: LoggedOptions = {},
): string {
  return `\u001esse1\n${epoch} ${offset}${ending === undefined ? "" : ` ${ending}`}\n\n${data}`;
}
