import { isLargerThan } from "../serialize.js";
import { parseEntryId, placeOf } from "../entry-id.js";
import { isEpoch, type Position } from "../sse/event-id.js";
import { encodeControl, encodeEvent, isReservedEvent, MAX_EVENT_NAME_BYTES, NOTHING } from "../sse/frame.js";
import { fitsInEvent } from "../text-splitter.js";
import { createReplacement, type GapReason } from "./gap.js";

/**
 * The envelope in which `publish()` sends an event on a Redis channel. Other programs can publish plain text on the same channel.
 *
 *     U+001E "sse1" LF  position LF  event LF  data
 *
 * - U+001E (record separator) starts no JSON and no readable text, so an envelope is never confused with plain text.
 * - position: the place of the event in its channel's log, "epoch id" with the id of its entry (`parseEntryId()`). Empty if the
 *   event has no place. The last event of a channel also has the ending: "epoch id completed".
 * - event: the type. Empty for `message`.
 * - data: the rest, without any encoding.
 *
 * The format is lines and not JSON, because Lua scripts on all servers can write lines.
 */

const MARK = "\u001esse";
const VERSION_1 = `${MARK}1\n`;

/** How a channel ended: its publisher completed it, or its writer was lost or aborted before that. */
export type Ending = "completed" | "broken";

export interface Envelope {
  readonly event: string | undefined;
  readonly data: string;
  readonly position?: Position;
  readonly ending?: Ending;
}

/** Whether a message is an envelope, and not the plain text of another program. */
export function isEnvelope(message: string): boolean {
  return message.startsWith(MARK);
}

/** Encodes an envelope without a position. Envelopes with a position are written in Redis, by the script that assigns it. */
export function encodeEnvelope({ event, data }: Pick<Envelope, "event" | "data">): string {
  return `${VERSION_1}\n${event ?? ""}\n${data}`;
}

/** Parses a message: the content of an envelope, or plain text as data. Returns `null` for a malformed envelope. */
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

/** An event for the sessions of a channel. It is encoded once for all of them. */
export interface InboundEvent {
  readonly channel: string;
  /** The type of the event. A client gets `undefined` as `message`. */
  readonly event: string | undefined;
  readonly data: string;
  /** The encoded event, without an id. */
  readonly frame: string;
  /** The place of the event in the channel's log, if it has one. */
  readonly position?: Position;
  /** Set on the last event of a channel. */
  readonly ending?: Ending;
  /** Set if the option `until` makes this event the last one of its stream. */
  readonly isLast?: boolean;
  /** Set on a `gap` event that replaces one event for all clients of the channel. It is counted for each client that gets it. */
  readonly gap?: GapReason;
}

/** An event that has a place in its channel's log. */
export type LoggedInboundEvent = InboundEvent & { readonly position: Position };

/** Whether this library created the event. Rules of the application apply only to events of the application. */
export function isControl({ event }: InboundEvent): boolean {
  return event !== undefined && isReservedEvent(event);
}

/**
 * Creates an event from a message of a Redis channel, where any program can publish. Returns `null` for a malformed envelope, and
 * for an envelope with a reserved event name. Returns a `gap` event if the event is too large.
 */
export function readInboundEvent(
  channel: string,
  message: string,
  maxEventBytes: number,
): InboundEvent | null {
  const envelope = parseMessage(message);
  return envelope === null ? null : readEnvelope(channel, envelope, maxEventBytes);
}

/** Creates an event from an entry of a channel's log. Returns a `gap` event if the event cannot be sent. */
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
  // The fast path for plain text of another program, and for an event without a place.
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
    // The encoder refuses an event name that would start another field.
    return null;
  }
}

/** The last event of a channel whose writer was lost or aborted. */
export function createBroken(channel: string): InboundEvent {
  return { channel, event: "error", data: "", frame: BROKEN };
}

const BROKEN = encodeControl("error", {
  code: "BROKEN",
  message: "The publisher of this stream stopped before its end.",
});

/** The parts of an event that a buffer needs. */
export interface BufferedItem {
  readonly data: string;
  readonly frame: string;
}

/** Memory of the objects of an event, without its text. Measured with many small events. */
const OVERHEAD_BYTES = 200;

/** The approximate memory of an event. */
export function sizeOf({ data, frame }: BufferedItem): number {
  return frame.length + data.length + OVERHEAD_BYTES;
}

/** An event as `filter`, `transform` and `until` get it. */
export interface StreamEvent {
  /** The channel of the event. */
  readonly channel: string;
  /** The type of the event. A client gets `undefined` as `message`. */
  readonly event: string | undefined;
  /** The data as text, as clients get it. */
  readonly data: string;
}
