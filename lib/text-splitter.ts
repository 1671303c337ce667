/** Length of "data: " and a line feed. Each line of an event takes these bytes on the wire, instead of its line end. */
const LINE_BYTES = 7;
const MIN_FRAME_BYTES = 1_024;

const LF = 0x0a;
const CR = 0x0d;

/** Maximum number of bytes that the text of one event takes on the wire, as `data:` lines. */
export function maxFrameBytes(maxEventBytes: number): number {
  return Math.max(MIN_FRAME_BYTES, 4 * maxEventBytes);
}

/** Whether `text` fits in one event. On the wire, line ends can make it much larger than its own bytes. */
export function fitsInEvent(text: string, maxEventBytes: number): boolean {
  // Small text need not be counted: a UTF-16 unit takes at most 3 bytes in UTF-8, and at most 7 bytes on the wire.
  if (3 * text.length <= maxEventBytes) return true;
  const bytes = Buffer.byteLength(text);
  if (bytes > maxEventBytes) return false;
  const limit = maxFrameBytes(maxEventBytes);
  return bytes + LINE_BYTES * (text.length + 1) <= limit || frameBytes(text, bytes) <= limit;
}

/**
 * Splits a text that arrives in chunks into pieces for events. Clients get the same text for any division into chunks.
 *
 * A CR or a high surrogate at the end of a chunk is held back, because the next chunk may start with the matching LF or low
 * surrogate. `maxEventBytes` must be at least 4, the size of the longest character.
 */
export class TextSplitter {
  readonly #maxEventBytes: number;
  /** A CR or a high surrogate, or empty. */
  #held = "";

  constructor(maxEventBytes: number) {
    this.#maxEventBytes = maxEventBytes;
  }

  /** Takes a chunk. Returns the pieces that are ready. Each piece fits in an event, and no piece is empty. */
  push(chunk: string): readonly string[] {
    const text = this.#held + chunk;
    const end = isUnfinished(text.charCodeAt(text.length - 1)) ? text.length - 1 : text.length;
    this.#held = text.slice(end);
    return split(text.slice(0, end), this.#maxEventBytes);
  }

  /** Returns the text that was held back, if any. The next chunk starts a new text. */
  end(): readonly string[] {
    const held = this.#held;
    this.#held = "";
    return held === "" ? [] : [held];
  }
}

/** Whether this UTF-16 unit and the next one may belong together. */
function isUnfinished(unit: number): boolean {
  return unit === CR || (unit >= 0xd800 && unit <= 0xdbff);
}

function frameBytes(text: string, bytes: number): number {
  let total = bytes + LINE_BYTES;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    // The CR of a CRLF is not sent.
    if (unit === LF) total += LINE_BYTES - 1;
    else if (unit === CR) total += text.charCodeAt(at + 1) === LF ? -1 : LINE_BYTES - 1;
  }
  return total;
}

/** Splits between characters, but never between CR and LF. */
function split(text: string, maxEventBytes: number): readonly string[] {
  if (text === "") return [];
  if (fitsInEvent(text, maxEventBytes)) return [text];
  const limit = maxFrameBytes(maxEventBytes);
  const pieces: string[] = [];
  let start = 0;
  let bytes = 0;
  let frame = LINE_BYTES;
  for (let at = 0; at < text.length;) {
    const code = text.codePointAt(at)!;
    const isCrLf = code === CR && text.charCodeAt(at + 1) === LF;
    const size = isCrLf ? 2 : utf8Bytes(code);
    const cost = code === CR || code === LF ? LINE_BYTES : size;
    if (bytes + size > maxEventBytes || frame + cost > limit) {
      pieces.push(text.slice(start, at));
      start = at;
      bytes = 0;
      frame = LINE_BYTES;
    }
    bytes += size;
    frame += cost;
    at += isCrLf || code > 0xffff ? 2 : 1;
  }
  pieces.push(text.slice(start));
  return pieces;
}

function utf8Bytes(code: number): number {
  if (code < 0x80) return 1;
  if (code < 0x800) return 2;
  return code < 0x1_0000 ? 3 : 4;
}
