import { parseEntryId, placeOf } from "../entry-id.js";
import { isEpoch, type Position } from "../sse/event-id.js";

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
