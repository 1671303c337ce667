/**
 * Where a stream stands in its channels, as the `id` of its events: one text for all channels, so that one
 * `Last-Event-ID` resumes them all.
 *
 *     "1." base64url( per channel: tag (2 bytes)  epoch (4 bytes)  offset (LEB128) )
 *
 * The tag is a hash of the channel's name, for which there is no room. Two channels of one stream may have the same:
 * then the epoch tells them apart. A client treats the whole as opaque, and the server as something that
 * anybody may have written: what does not parse strictly is no cursor.
 */

/** A place in a channel's log. Offsets begin with 1 and have no holes; 0 stands before the first event. */
export interface Position {
  /** One life of the log, 8 hexadecimal digits: a log that was lost begins again with another. */
  readonly epoch: string;
  readonly offset: number;
}

export interface CursorEntry extends Position {
  readonly tag: number;
}

const VERSION_1 = "1.";
const TAG_BYTES = 2;
const EPOCH_BYTES = 4;
/** Of the largest safe integer, 7 bits to a byte. */
const MAX_OFFSET_BYTES = 8;
/** More than the channels of any stream take; whatever is longer is not looked at. */
const MAX_LENGTH = 16 * 1024;

/** What stands for a channel in a cursor: FNV-1a over its UTF-16, folded to 16 bits. */
export function tagOf(channel: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < channel.length; index++) {
    hash = Math.imul(hash ^ channel.charCodeAt(index), 0x01000193);
  }
  return ((hash >>> 16) ^ hash) & 0xffff;
}

export function encodeCursor(entries: Iterable<CursorEntry>): string {
  return joinEntries(Array.from(entries, encodeEntry));
}

/** One channel's part of a cursor. */
export function encodeEntry({ tag, epoch, offset }: CursorEntry): Buffer {
  const bytes = Buffer.allocUnsafe(TAG_BYTES + EPOCH_BYTES + MAX_OFFSET_BYTES);
  bytes.writeUInt16BE(tag, 0);
  bytes.writeUInt32BE(Number.parseInt(epoch, 16), TAG_BYTES);
  return bytes.subarray(0, writeOffset(bytes, TAG_BYTES + EPOCH_BYTES, offset));
}

export function joinEntries(entries: readonly Buffer[]): string {
  return encodeEntries(entries.length === 1 ? entries[0]! : Buffer.concat(entries));
}

/** A cursor of the parts of its channels, one behind the other. */
export function encodeEntries(entries: Buffer): string {
  return VERSION_1 + entries.toString("base64url");
}

/** Puts another offset into a part of a cursor, from `start` to `end` of `entries`; false when it has not its length. */
export function replaceOffset(entries: Buffer, start: number, end: number, offset: number): boolean {
  const at = start + TAG_BYTES + EPOCH_BYTES;
  const length = end - at;
  if (offset >= 0x80 ** length || (length > 1 && offset < 0x80 ** (length - 1))) return false;
  writeOffset(entries, at, offset);
  return true;
}

/** Answers where it ends. */
function writeOffset(bytes: Buffer, start: number, offset: number): number {
  let end = start;
  let rest = offset;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes[end++] = (rest % 0x80) | 0x80;
  bytes[end++] = rest;
  return end;
}

/** Reads a cursor; `null` for anything that `encodeCursor()` does not write. */
export function parseCursor(text: string): readonly CursorEntry[] | null {
  if (text.length > MAX_LENGTH || !/^1\.[\w-]+$/.test(text)) return null;
  const bytes = Buffer.from(text.slice(VERSION_1.length), "base64url");
  const entries: CursorEntry[] = [];
  for (let at = 0; at < bytes.length;) {
    if (at + TAG_BYTES + EPOCH_BYTES >= bytes.length) return null;
    const tag = bytes.readUInt16BE(at);
    const epoch = bytes.toString("hex", at + TAG_BYTES, at + TAG_BYTES + EPOCH_BYTES);
    const read = readOffset(bytes, at + TAG_BYTES + EPOCH_BYTES);
    if (read === null) return null;
    entries.push({ tag, epoch, offset: read.offset });
    at = read.end;
  }
  // There is one text for each cursor: no spare bits, no leading zeros.
  return encodeCursor(entries) === text ? entries : null;
}

function readOffset(bytes: Buffer, start: number): { offset: number; end: number } | null {
  let offset = 0;
  for (let index = 0; index < MAX_OFFSET_BYTES; index++) {
    const byte = bytes[start + index];
    if (byte === undefined) return null;
    offset += (byte & 0x7f) * 0x80 ** index;
    if (byte < 0x80) {
      return Number.isSafeInteger(offset) ? { offset, end: start + index + 1 } : null;
    }
  }
  return null;
}

/** Whether `text` is an epoch: what another program wrote may not be. */
export function isEpoch(text: string): boolean {
  return /^[0-9a-f]{8}$/.test(text);
}
