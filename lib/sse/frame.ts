import { RedisSseError } from "../errors.js";

/**
 * The wire format of an event stream, WHATWG HTML 9.2.5 and 9.2.6, seen from the sender.
 *
 * A frame is one event: its fields, then the blank line on which a client dispatches it. `id` is always the last field:
 * some clients store an id as soon as its line has arrived. If data came after the id and was lost, they would skip
 * the event on resume. Frames are text, sent as UTF-8; many become bytes together (see `EncodedFrames`).
 */

export interface FrameFields {
  /** The event's type; left out, the client dispatches `message`. */
  readonly event?: string | undefined;
  readonly data: string;
  /** Sets the client's last event id. */
  readonly id?: string | undefined;
}

/**
 * The comment that keeps an idle stream open through proxies. No blank line follows: some clients would dispatch an event
 * without data for it.
 */
export const HEARTBEAT = ":\n";

/** Milliseconds of silence before a heartbeat. */
export const DEFAULT_HEARTBEAT_MS = 15_000;

/**
 * The frame of an event that is not sent to the client. With an id added, it is a block that only updates the
 * client's id.
 */
export const NOTHING = "";

/** The longest event name, in bytes of UTF-8. */
export const MAX_EVENT_NAME_BYTES = 256;

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
  const frame = encodeFields(event, data);
  return id === undefined ? frame : addId(frame, id);
}

function encodeFields(event: string | undefined, data: string): string {
  let frame = "";
  if (event !== undefined && event !== "") {
    assertField("event", event);
    frame = `event: ${event}\n`;
  }
  // Most data is one line (JSON): splitting it would cost an array and a second string for nothing.
  if (!LINE_END.test(data)) return `${frame}data: ${data}\n\n`;
  for (const line of data.split(LINE_END)) frame += `data: ${line}\n`;
  return `${frame}\n`;
}

/** Adds the client's new last event id to an encoded event. */
export function addId(frame: string, id: string): string {
  assertField("id", id);
  return `${frame.slice(0, -1)}id: ${id}\n\n`;
}

/** Encodes a control event, whose data is JSON. */
export function encodeControl(
  event: ControlEvent,
  data: Readonly<Record<string, unknown>>,
  id?: string,
): string {
  return encodeEvent({ event, data: JSON.stringify(data), id });
}

/**
 * Adds the field `retry` to an encoded event, in whole milliseconds. For a separate block, some clients would
 * dispatch an event without data.
 */
export function addRetry(frame: string, retryMs: number): string {
  // A client ignores the field unless it is all ASCII digits (9.2.6).
  if (!Number.isSafeInteger(retryMs) || retryMs < 0) {
    throw new RedisSseError("INVALID_EVENT", "expected retry as a whole number of milliseconds >= 0");
  }
  return `retry: ${retryMs}\n${frame}`;
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

/**
 * Whole frames that are written with one call. A block that goes to many clients is the same object for all of them,
 * and becomes bytes once.
 */
export class EncodedFrames {
  /** The frames, as they are told to the client. */
  readonly text: string;
  readonly #isShared: boolean;
  #byteLength = -1;
  #payload: Buffer | null = null;
  #chunk: Buffer | null = null;

  /** `isShared`: more than one client is to get it. */
  constructor(text: string, isShared = false) {
    this.text = text;
    this.#isShared = isShared;
  }

  /** The length of the text as UTF-8. */
  get byteLength(): number {
    if (this.#byteLength < 0) this.#byteLength = Buffer.byteLength(this.text);
    return this.#byteLength;
  }

  /**
   * What a response is given. Text where nobody else gets the same: Node encodes that on its way into the socket,
   * and a Buffer would be made for nothing.
   */
  get payload(): Buffer | string {
    if (!this.#isShared) return this.text;
    return (this.#payload ??= Buffer.from(this.text));
  }

  /**
   * The same as one chunk of HTTP/1.1's chunked coding (RFC 9112 7.1), for an adapter that writes to the socket
   * itself. The coding costs seven bytes, and nothing per client.
   */
  get chunk(): Buffer | string {
    if (this.#chunk !== null) return this.#chunk;
    // A chunk without bytes would be the last one.
    if (this.text === "") return "";
    const chunk = `${this.byteLength.toString(16)}\r\n${this.text}\r\n`;
    if (!this.#isShared) return chunk;
    return (this.#chunk = Buffer.from(chunk));
  }
}

/** One block of several, in their order. */
export function joinBlocks(blocks: readonly EncodedFrames[]): EncodedFrames {
  if (blocks.length === 1) return blocks[0]!;
  let text = "";
  for (const block of blocks) text += block.text;
  return new EncodedFrames(text);
}
