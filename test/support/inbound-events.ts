import { encodeEvent } from "../../lib/sse/frame.js";
import type { Ending } from "../../lib/events/inbound-event.js";
import type { InboundEvent, LoggedInboundEvent } from "../../lib/events/inbound-event.js";

export const EPOCH = "0badcafe";

/** An event that is in no log, as it comes from any program. */
export function plainEvent(channel: string, data: string): InboundEvent {
  return { channel, event: undefined, data, frame: encodeEvent({ data }) };
}

export interface LoggedOptions {
  readonly epoch?: string;
  readonly ending?: Ending;
  /** Its own, and that of the event before it. Default: unknown. */
  readonly stamp?: number;
  readonly previousStamp?: number;
  /** Default: its place. */
  readonly data?: string;
}

/** An event at a place in its channel's log. */
export function loggedEvent(
  channel: string,
  offset: number,
  { epoch = EPOCH, ending, data = `${channel}${offset}`, ...stamps }: LoggedOptions = {},
): LoggedInboundEvent {
  const event = { ...plainEvent(channel, data), position: { epoch, offset, ...stamps } };
  return ending === undefined ? event : { ...event, ending };
}

/** The same as it comes over Redis. */
export function loggedMessage(
  channel: string,
  offset: number,
  { epoch = EPOCH, ending, data = `${channel}${offset}` }: LoggedOptions = {},
): string {
  return `\u001esse1\n${epoch} ${offset}${ending === undefined ? "" : ` ${ending}`}\n\n${data}`;
}
