import { RedisSseError } from "../errors.js";

/**
 * Encodes events in the wire format of WHATWG HTML 9.2.5 and 9.2.6.
 *
 * A frame is one event: its fields and the blank line that makes a client dispatch it. `id` is always the last field, because some
 * clients store an id as soon as its line arrives. If the connection broke before the data, they would skip the event when they
 * resume.
 */

export interface FrameFields {
  /** The type of the event. Without a type, the client dispatches `message`. */
  readonly event?: string | undefined;
  readonly data: string;
  /** Sets the client's last event id. */
  readonly id?: string | undefined;
}

/**
 * The comment that keeps a silent stream open through proxies. It has no blank line, because some clients would dispatch an
 * event without data.
 */
export const HEARTBEAT = ":\n";

/** Milliseconds of silence before a heartbeat. */
export const DEFAULT_HEARTBEAT_MS = 15_000;

/**
 * The frame of an event that is not sent to the client. With an id, it is a block that only updates the client's id.
 */
export const NOTHING = "";

/** Maximum length of an event name, in bytes of UTF-8. */
export const MAX_EVENT_NAME_BYTES = 256;

// CRLF, LF and CR all end a line, so each of them would end a `data` line early.
const LINE_END = /\r\n|\r|\n/;
// CR and LF would start another field. A client ignores an id with NUL.
// oxlint-disable-next-line no-control-regex -- these control characters are what must not pass
const FORBIDDEN_IN_FIELD = /[\r\n\u0000]/;

/** Throws `INVALID_EVENT` if `value` is invalid in an `event` or `id` field. */
export function assertField(field: "event" | "id", value: string): void {
  if (FORBIDDEN_IN_FIELD.test(value)) {
    throw new RedisSseError("INVALID_EVENT", `expected ${field} as text without CR, LF and NUL`);
  }
}

/** Encodes one event. `data:` is always followed by a space, because a client removes exactly one. */
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
  // Most data is one line (JSON), which needs no split.
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
 * Adds the field `retry` to an encoded event, in whole milliseconds. For a separate block with this field, some clients would
 * dispatch an event without data.
 */
export function addRetry(frame: string, retryMs: number): string {
  // A client ignores the field if it has other characters than ASCII digits (9.2.6).
  if (!Number.isSafeInteger(retryMs) || retryMs < 0) {
    throw new RedisSseError("INVALID_EVENT", "expected retry as a whole number of milliseconds from 0");
  }
  return `retry: ${retryMs}\n${frame}`;
}

/** The events that only this library sends. */
export type ControlEvent = "connected" | "gap" | "error" | "closing";

// An EventSource dispatches `open` and `error` for its connection. A page could not distinguish them from events of the
// application with the same name.
const RESERVED: ReadonlySet<string> = new Set<ControlEvent | "open">([
  "connected",
  "gap",
  "error",
  "closing",
  "open",
]);

/** Whether this event name is reserved, so that applications cannot publish it. */
export function isReservedEvent(event: string): boolean {
  return RESERVED.has(event);
}

/**
 * A block of complete frames that is written with one call. All clients of a block share one object, so that it is converted to
 * bytes only once.
 */
export class EncodedFrames {
  /** The frames as text. */
  readonly text: string;
  readonly #isShared: boolean;
  #byteLength = -1;
  #payload: Buffer | null = null;
  #chunk: Buffer | null = null;

  /** `isShared`: more than one client gets this block. */
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
   * The block for a write to the response. For a single client it is text, because Node encodes text during the write and needs no
   * Buffer.
   */
  get payload(): Buffer | string {
    if (!this.#isShared) return this.text;
    return (this.#payload ??= Buffer.from(this.text));
  }

  /**
   * The block as one chunk of the HTTP/1.1 chunked coding (RFC 9112 7.1), for an adapter that writes directly to the socket. The
   * coding adds about seven bytes.
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

/** Joins several blocks to one block, in the same order. */
export function joinBlocks(blocks: readonly EncodedFrames[]): EncodedFrames {
  if (blocks.length === 1) return blocks[0]!;
  let text = "";
  for (const block of blocks) text += block.text;
  return new EncodedFrames(text);
}
