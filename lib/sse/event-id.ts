/**
 * The event id of a stream. It contains the place of the client in every channel, so that one `Last-Event-ID` resumes all
 * channels.
 *
 *     "3." base64url( per channel: tag (4 bytes)  epoch (4 bytes)  stamp (3 bytes)  number (LEB128) )
 *
 * - tag: a hash of the channel's name. The name itself would be too long.
 * - epoch: random for each log. So two channels are confused only if both their tags and their epochs are equal.
 * - number: the offset of the newest event that the client has.
 * - stamp: the stamp of this event, or 0 if it has none.
 *
 * For a channel without a log, the epoch is 0, and the stamp is omitted. The number is 65,536 times the hour of Redis' clock in
 * which the server found no log, plus 16 bits of the server's `run_id`.
 *
 * Version 2 had no stamps. Version 1 had no stamps, tags of 2 bytes, and no entries for channels without a log. Both can still
 * be read. Clients treat an id as opaque. The server does not trust it: it accepts only text that `encodeEventId()` of one of
 * these versions can write.
 */

import { STAMPS } from "../entry-id.js";

/** A place in a channel's log. Offsets are contiguous and start at 1. Offset 0 is before the first event. */
export interface Position {
  /**
   * Identifies one log of the channel: 8 hexadecimal digits. After the loss of a log, the next log has another epoch. Empty if
   * the channel has no log.
   */
  readonly epoch: string;
  readonly offset: number;
  /** The stamp of the event at this offset (`EntryId`); 0 or absent if unknown. */
  readonly stamp?: number;
  /** For the place of an event: the stamp of the previous event; 0 or absent if unknown. */
  readonly previousStamp?: number;
  /**
   * If the channel has no log: the time when the server found none, in milliseconds of Redis' clock. An id stores whole hours.
   */
  readonly since?: number;
  /** If the channel has no log: the run of the server that found none, as `ServerRun.id`. */
  readonly run?: number;
}

export interface EventIdEntry extends Position {
  readonly tag: number;
  /** Set if the entry is from an id of version 1, where tags have 16 bits. */
  readonly isVersion1?: true;
}

const VERSION = "3.";
const TAG_BYTES = 4;
const EPOCH_BYTES = 4;
const STAMP_BYTES = 3;
/** The sizes of the fields of a channel, by the version of the id. */
const LAYOUTS = {
  "1.": { tagBytes: 2, stampBytes: 0 },
  "2.": { tagBytes: TAG_BYTES, stampBytes: 0 },
  [VERSION]: { tagBytes: TAG_BYTES, stampBytes: STAMP_BYTES },
};
/** Length of the largest safe integer, with 7 bits in each byte. */
const MAX_NUMBER_BYTES = 8;
const HOUR_MS = 3_600_000;
const RUNS = 65_536;
const STAMP_AT = TAG_BYTES + EPOCH_BYTES;
const HEAD_BYTES = STAMP_AT + STAMP_BYTES;
/** Longer than the id of any stream. Longer text is not parsed. */
const MAX_LENGTH = 16 * 1024;

/** Maximum number of channels of a stream. With them, an id stays below 8 KB, the limit of some proxies for a header line. */
export const MAX_CHANNELS = 320;

/** The tag of a channel: 32 bits of FNV-1a over the UTF-16 units of its name. */
export function tagOf(channel: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < channel.length; index++) {
    hash = Math.imul(hash ^ channel.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}

/** Converts a tag to the 16 bits of version 1. */
export function shortTagOf(tag: number): number {
  return ((tag >>> 16) ^ tag) & 0xffff;
}

export function encodeEventId(entries: Iterable<EventIdEntry>): string {
  return encodeEntries(Buffer.concat(Array.from(entries, encodeEntry)));
}

/** Encodes the part of one channel in a cursor. */
export function encodeEntry({ tag, epoch, offset, stamp = 0, since = 0, run = 0 }: EventIdEntry): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + MAX_NUMBER_BYTES);
  bytes.writeUInt32BE(tag, 0);
  bytes.writeUInt32BE(epoch === "" ? 0 : Number.parseInt(epoch, 16), TAG_BYTES);
  if (epoch === "") {
    const end = writeNumber(bytes, STAMP_AT, Math.floor(since / HOUR_MS) * RUNS + run);
    return bytes.subarray(0, end);
  }
  bytes.writeUIntBE(stamp, STAMP_AT, STAMP_BYTES);
  return bytes.subarray(0, writeNumber(bytes, HEAD_BYTES, offset));
}

/** Encodes a cursor from the parts of its channels. */
export function encodeEntries(entries: Buffer): string {
  return VERSION + entries.toString("base64url");
}

/**
 * Replaces the place in one channel's part of a cursor by another place of the same log. The part is from `start` to `end` of
 * `entries`. Returns false if the new place needs another length.
 */
export function replacePlace(
  entries: Buffer,
  start: number,
  end: number,
  { offset, stamp = 0 }: Position,
): boolean {
  const at = start + HEAD_BYTES;
  const length = end - at;
  if (offset >= 0x80 ** length || (length > 1 && offset < 0x80 ** (length - 1))) return false;
  entries.writeUIntBE(stamp, start + STAMP_AT, STAMP_BYTES);
  writeNumber(entries, at, offset);
  return true;
}

/** Writes a number in LEB128. Returns the index after it. */
function writeNumber(bytes: Buffer, start: number, number: number): number {
  let end = start;
  let rest = number;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes[end++] = (rest % 0x80) | 0x80;
  bytes[end++] = rest;
  return end;
}

/** Parses a cursor. Returns `null` for text that no version of `encodeEventId()` writes. */
export function parseEventId(text: string): readonly EventIdEntry[] | null {
  if (text.length > MAX_LENGTH || !/^[123]\.[\w-]+$/.test(text)) return null;
  const { tagBytes, stampBytes } = LAYOUTS[text.slice(0, VERSION.length) as keyof typeof LAYOUTS];
  const coded = text.slice(VERSION.length);
  const bytes = Buffer.from(coded, "base64url");
  // Each cursor has exactly one text, so the spare bits must be 0.
  return bytes.toString("base64url") === coded ? parseBytes(bytes, tagBytes, stampBytes) : null;
}

/** Parses parts that `encodeEntry()` wrote. Returns `null` for other bytes. */
export function parseEntries(bytes: Buffer): readonly EventIdEntry[] | null {
  return parseBytes(bytes, TAG_BYTES, STAMP_BYTES);
}

function parseBytes(bytes: Buffer, tagBytes: number, stampBytes: number): readonly EventIdEntry[] | null {
  const isVersion1 = tagBytes < TAG_BYTES;
  const entries: EventIdEntry[] = [];
  for (let at = 0; at < bytes.length;) {
    const epochAt = at + tagBytes;
    const stampAt = epochAt + EPOCH_BYTES;
    if (stampAt >= bytes.length) return null;
    const tag = isVersion1 ? bytes.readUInt16BE(at) : bytes.readUInt32BE(at);
    const epoch = bytes.toString("hex", epochAt, stampAt);
    const numberAt = epoch === NO_EPOCH ? stampAt : stampAt + stampBytes;
    if (numberAt >= bytes.length) return null;
    const stamp = numberAt === stampAt ? 0 : bytes.readUIntBE(stampAt, stampBytes);
    if (stamp >= STAMPS) return null;
    const read = readNumber(bytes, numberAt);
    if (read === null) return null;
    const { number } = read;
    if (isVersion1) entries.push({ tag, epoch, offset: number, isVersion1 });
    else if (epoch === NO_EPOCH) {
      const since = Math.floor(number / RUNS) * HOUR_MS;
      if (!Number.isSafeInteger(since)) return null;
      entries.push({ tag, epoch: "", offset: 0, since, run: number % RUNS });
    } else entries.push({ tag, epoch, offset: number, ...(stamp !== 0 && { stamp }) });
    at = read.end;
  }
  return entries;
}

/** Returns `null` unless the bytes are the shortest form of a safe integer. */
function readNumber(bytes: Buffer, start: number): { number: number; end: number } | null {
  let number = 0;
  for (let index = 0; index < MAX_NUMBER_BYTES; index++) {
    const byte = bytes[start + index];
    if (byte === undefined) return null;
    number += (byte & 0x7f) * 0x80 ** index;
    if (byte >= 0x80) continue;
    const isShortest = byte > 0 || index === 0;
    return isShortest && Number.isSafeInteger(number) ? { number, end: start + index + 1 } : null;
  }
  return null;
}

const NO_EPOCH = "00000000";

/** The place of the previous event. */
export function placeBefore({ epoch, offset, previousStamp = 0 }: Position): Position {
  return { epoch, offset: offset - 1, ...(previousStamp !== 0 && { stamp: previousStamp }) };
}

/** Whether `next` is the place directly after the first place, in the same log. */
export function isNext({ offset, stamp }: Position, next: Position): boolean {
  return next.offset === offset + 1 && !haveOtherStamps(stamp, next.previousStamp);
}

/** Whether two places with the same offset have different stamps. If so, a failover has lost one of the two events. */
export function haveOtherStamps(one: number | undefined, other: number | undefined): boolean {
  return Boolean(one) && Boolean(other) && one !== other;
}

/** Whether `text` is an epoch. Another program may have written other text. */
export function isEpoch(text: string): boolean {
  return /^[0-9a-f]{8}$/.test(text) && text !== NO_EPOCH;
}

/**
 * Some streams add a token to each id, after a `~`. The client sends it back when it reconnects, as a proof of what it got. It
 * never appears in a URL, unless the client puts its id there.
 */
const TOKEN_SEPARATOR = "~";

/** Joins the tokens of a stream to one: the token of its ticket, and the token that limits how far back it may resume. */
export function joinTokens(ticket: string, resume: string | undefined): string {
  return resume === undefined ? ticket : ticket + TOKEN_SEPARATOR + resume;
}

/** The token of the ticket in a joined token. */
export function ticketTokenOf(token: string): string {
  return token.split(TOKEN_SEPARATOR, 1)[0]!;
}

/** The token in a joined token that limits how far back the stream may resume. */
export function resumeTokenOf(token: string): string {
  return token.slice(token.lastIndexOf(TOKEN_SEPARATOR) + 1);
}

/** The part before the token, for a stream without places. */
const NO_PLACES = "0";

/** Adds a token to the places of a stream. */
export function addToken(places: string | undefined, token: string): string {
  return (places ?? NO_PLACES) + TOKEN_SEPARATOR + token;
}

/** Splits a `Last-Event-ID` into the places and the token. It is untrusted input. */
export function splitToken(lastEventId: string): {
  readonly places: string;
  readonly token: string | undefined;
} {
  const at = lastEventId.indexOf(TOKEN_SEPARATOR);
  if (at < 0) return { places: lastEventId, token: undefined };
  const places = lastEventId.slice(0, at);
  return { places: places === NO_PLACES ? "" : places, token: lastEventId.slice(at + 1) };
}
