/**
 * What `publish()` puts on a Redis channel, beside the plain text that any other program may put there.
 *
 *     U+001E "sse1" LF  position LF  event LF  data
 *
 * U+001E (record separator) does not begin any JSON or readable text, so the two never mix. Lines and not
 * JSON, since a Lua script on every server, and any language, can write them. `position` is where the event
 * stands in its channel's history, empty for an event without one; `event` is empty for `message`; `data`
 * is all the rest, as it is.
 */

const MARK = "\u001esse";
const VERSION_1 = `${MARK}1\n`;

export interface Envelope {
  readonly event: string | undefined;
  readonly data: string;
}

export function encodeEnvelope({ event, data }: Envelope): string {
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
  return { event: event === "" ? undefined : event, data: message.slice(eventEnd + 1) };
}
