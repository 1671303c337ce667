import { isLargerThan } from "../serialize.js";
import type { Position } from "../sse/event-id.js";
import { encodeControl, encodeEvent, isReservedEvent, MAX_EVENT_NAME_BYTES, NOTHING } from "../sse/frame.js";
import { fitsInEvent } from "../text-splitter.js";
import { parseMessage, type Envelope, type Ending } from "./envelope.js";
import { createReplacement, type GapReason } from "./gap.js";

/** One event on its way to the sessions of a channel, encoded once for all of them. */
export interface InboundEvent {
  readonly channel: string;
  /** The event's type; `undefined` is what a client dispatches as `message`. */
  readonly event: string | undefined;
  readonly data: string;
  /** As it goes on the wire, without an id. */
  readonly frame: string;
  /** Its place in the channel's log, of an event that has one. */
  readonly position?: Position;
  /** Set on the last event of a channel. */
  readonly ending?: Ending;
  /** Set on the event that its stream ends with, by what the application said of it. */
  readonly isLast?: boolean;
  /** Set on a gap that stands in the place of one event, for all who hear it: counted for each client that gets it. */
  readonly gap?: GapReason;
}

/** An event that has a place in its channel's log. */
export type LoggedInboundEvent = InboundEvent & { readonly position: Position };

/** Whether this library made the event: an application is asked about the application's events. */
export function isControl({ event }: InboundEvent): boolean {
  return event !== undefined && isReservedEvent(event);
}

/**
 * Makes an event of what came over a Redis channel, where any program may publish: `null` for an envelope
 * that is malformed or poses as one of our control events, and a `gap` in place of one that is too large.
 */
export function readInboundEvent(
  channel: string,
  message: string,
  maxEventBytes: number,
): InboundEvent | null {
  const envelope = parseMessage(message);
  return envelope === null ? null : readEnvelope(channel, envelope, maxEventBytes);
}

/** Makes an event of what is in a channel's log; a `gap` in place of one that cannot be sent. */
export function readLoggedEvent(
  channel: string,
  envelope: Envelope & { readonly position: Position },
  maxEventBytes: number,
): LoggedInboundEvent {
  const { position, ending } = envelope;
  const event = readEnvelope(channel, envelope, maxEventBytes) ?? createReplacement(channel, "invalid");
  return { ...event, position, ...(ending !== undefined && { ending }) };
}

function readEnvelope(channel: string, envelope: Envelope, maxEventBytes: number): InboundEvent | null {
  const { event, data, position, ending } = envelope;
  // Plain text of another program, or an event without a place: made for each of them, so nothing else is.
  const isTooLarge = !fitsInEvent(data, maxEventBytes);
  if (event === undefined && position === undefined && !isTooLarge) {
    return { channel, event, data, frame: encodeEvent({ data }) };
  }
  const place = { ...(position !== undefined && { position }), ...(ending !== undefined && { ending }) };
  if (event !== undefined && isReservedEvent(event)) return null;
  if (isTooLarge || (event !== undefined && isLargerThan(event, MAX_EVENT_NAME_BYTES))) {
    return { ...createReplacement(channel, "too-large"), ...place };
  }
  if (ending === "broken") return { channel, event: "error", data, frame: BROKEN, ...place };
  // An event without data is not dispatched (9.2.6).
  if (ending !== undefined && event === undefined && data === "") {
    return { channel, event, data, frame: NOTHING, ...place };
  }
  try {
    return { channel, event, data, frame: encodeEvent({ event, data }), ...place };
  } catch {
    // The encoder refuses an event name that would begin another field.
    return null;
  }
}

const BROKEN = encodeControl("error", {
  code: "BROKEN",
  message: "this stream was broken off before its end",
});

/** An event as a buffer sees it. */
export interface BufferedItem {
  readonly data: string;
  readonly frame: string;
}

/** What an event takes beside its text and its bytes: the objects around them, as measured with many small ones. */
const OVERHEAD_BYTES = 200;

/** The memory that an event takes, about. */
export function sizeOf({ data, frame }: BufferedItem): number {
  return frame.length + data.length + OVERHEAD_BYTES;
}

/** An event as an application sees it. */
export interface StreamEvent {
  /** The channel of the event. */
  readonly channel: string;
  /** The event's type; `undefined` is what a client dispatches as `message`. */
  readonly event: string | undefined;
  /** The data as text, as clients get it. */
  readonly data: string;
}
