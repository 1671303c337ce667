import { isLargerThan } from "../serialize.js";
import { parseEntryId, placeOf } from "../entry-id.js";
import { isEpoch, type Position } from "../sse/event-id.js";
import { encodeControl, encodeEvent, isReservedEvent, MAX_EVENT_NAME_BYTES, NOTHING } from "../sse/frame.js";
import { fitsInEvent } from "../text-splitter.js";
import { createReplacement, type GapReason } from "./gap.js";

/**
 * What `publish()` puts on a Redis channel, beside the plain text that any other program may put there.
 *
 *     U+001E "sse1" LF  position LF  event LF  data
 *
 * U+001E (record separator) does not begin any JSON or readable text, so the two never mix. Lines and not
 * JSON, since a Lua script on every server, and any language, can write them. `position` is the event's place in
 * its channel's log, "epoch id" with the id of its entry (`parseEntryId()`), empty for an event without one; the last
 * event of a channel has how it ended behind it, "epoch id completed". `event` is empty for `message`; `data` is all the rest, as it is.
 */

const MARK = "\u001esse";
const VERSION_1 = `${MARK}1\n`;

/** How a channel was ended: by its publisher, or because that one was lost half-way. */
export type Ending = "completed" | "broken";

export interface Envelope {
  readonly event: string | undefined;
  readonly data: string;
  readonly position?: Position;
  readonly ending?: Ending;
}

/** Whether a message is what `publish()` sends, in contrast to the plain text of any other program. */
export function isEnvelope(message: string): boolean {
  return message.startsWith(MARK);
}

/** An envelope without a position; with one it is written where the position is made, in Redis. */
export function encodeEnvelope({ event, data }: Pick<Envelope, "event" | "data">): string {
  return `${VERSION_1}\n${event ?? ""}\n${data}`;
}

/** Reads a message: an envelope's content, plain text as data, or `null` for an envelope that is none. */
export function parseMessage(message: string): Envelope | null {
  if (!message.startsWith(MARK)) return { event: undefined, data: message };
  if (!message.startsWith(VERSION_1)) return null;
  const positionEnd = message.indexOf("\n", VERSION_1.length);
  const eventEnd = positionEnd < 0 ? -1 : message.indexOf("\n", positionEnd + 1);
  if (eventEnd < 0) return null;
  const event = message.slice(positionEnd + 1, eventEnd);
  const content = { event: event === "" ? undefined : event, data: message.slice(eventEnd + 1) };
  if (positionEnd === VERSION_1.length) return content;
  const place = parsePlace(message.slice(VERSION_1.length, positionEnd));
  return place === null ? null : { ...content, ...place };
}

function parsePlace(line: string): { position: Position; ending?: Ending } | null {
  const [epoch = "", id = "", ending, ...rest] = line.split(" ");
  const place = parseEntryId(id);
  if (!isEpoch(epoch) || place === null || rest.length > 0) return null;
  const position = placeOf(epoch, place);
  if (ending === undefined) return { position };
  return ending === "completed" || ending === "broken" ? { position, ending } : null;
}

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
  if (ending === "broken") return { ...createBroken(channel), data, ...place };
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

/** The last event of a channel whose publisher was lost. */
export function createBroken(channel: string): InboundEvent {
  return { channel, event: "error", data: "", frame: BROKEN };
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
