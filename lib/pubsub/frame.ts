import { RedisSseError } from "../errors.js";

/**
 * The wire format of an event stream, WHATWG HTML 9.2.5 and 9.2.6, seen from the sender.
 * Every function but `encodeId()` returns one whole frame: half an event is discarded by the client, so none is
 * ever made. Frames are text, to be sent as UTF-8: many become bytes together (see `Block`).
 */

export interface FrameFields {
  /** The event's type; left out, the client dispatches `message`. */
  readonly event?: string | undefined;
  readonly data: string;
  /** Sets the client's last event id. */
  readonly id?: string | undefined;
}

/** The comment that keeps an idle stream open through proxies. A client dispatches nothing for it. */
export const HEARTBEAT = ":\n\n";

// A line ends at CRLF, LF or CR alike, so all three would end a `data` line early.
const LINE_END = /\r\n|\r|\n/;
// CR and LF would begin another field; a client ignores an id with NUL, and NUL has no place in a type.
// oxlint-disable-next-line no-control-regex -- these control characters are what must not pass
const FORBIDDEN_IN_FIELD = /[\r\n\u0000]/;

/** Throws `INVALID_EVENT` unless `value` can stand in an `event` or `id` field. */
export function assertField(field: "event" | "id", value: string): void {
  if (FORBIDDEN_IN_FIELD.test(value)) {
    throw new RedisSseError("INVALID_EVENT", `expected an ${field} without CR, LF and NUL`);
  }
}

/** Encodes one event. The space after `data:` is always there, since a client takes exactly one away. */
export function encodeEvent({ event, data, id }: FrameFields): string {
  let frame = "";
  if (event !== undefined && event !== "") {
    assertField("event", event);
    frame += `event: ${event}\n`;
  }
  if (id !== undefined) {
    assertField("id", id);
    frame += `id: ${id}\n`;
  }
  // Most data is one line (JSON): splitting it would cost an array and a second string for nothing.
  if (!LINE_END.test(data)) return `${frame}data: ${data}\n\n`;
  for (const line of data.split(LINE_END)) frame += `data: ${line}\n`;
  return `${frame}\n`;
}

/** The field that goes before an event which is encoded already; it is no whole frame. */
export function encodeId(id: string): string {
  assertField("id", id);
  return `id: ${id}\n`;
}

/** Encodes a control event, whose data is JSON. */
export function encodeControl(
  event: ControlEvent,
  data: Readonly<Record<string, unknown>>,
  id?: string,
): string {
  return encodeEvent({ event, data: JSON.stringify(data), id });
}

/** Encodes how long the client waits before it comes back, in whole milliseconds. */
export function encodeRetry(retryMs: number): string {
  // A client ignores the field unless it is all ASCII digits (9.2.6).
  if (!Number.isSafeInteger(retryMs) || retryMs < 0) {
    throw new RedisSseError("INVALID_EVENT", "expected retry as a whole number of milliseconds >= 0");
  }
  return `retry: ${retryMs}\n\n`;
}

/** The events that this library sends itself. */
export type ControlEvent = "connected" | "gap" | "error" | "closing";

// `open` and `error` are what an EventSource dispatches for its own transport: an application's event of
// that name could not be told from it.
const RESERVED: ReadonlySet<string> = new Set<ControlEvent | "open">([
  "connected",
  "gap",
  "error",
  "closing",
  "open",
]);

/** Whether a publisher may not use this event name, because it means something to every client. */
export function isReservedEvent(event: string): boolean {
  return RESERVED.has(event);
}
