/**
 * The id of an entry in a channel's log, which is also the second word of an envelope's `place`:
 *
 *     offset "-" stamp of the event before it (7 digits; absent if unknown)  stamp of the event (7 digits)
 *
 * A failover can lose the newest events of a log, and other events then get their offsets. These events have other stamps than
 * the lost ones. An entry that another program has written without stamps has the id `17-0`.
 */
export interface EntryId {
  readonly offset: number;
  /** Distinguishes the event from another event at the same offset of the same log. Below `STAMPS`; 0 if unknown. */
  readonly stamp: number;
  /** The stamp of the event before it; 0 if unknown. */
  readonly previousStamp: number;
}

/** The number of possible stamps. An SSE id has 24 bits for a stamp. */
export const STAMPS = 10_000_000;

const MAX_STAMPS_LENGTH = 14;
const MAX_OFFSET_LENGTH = 16;

/** Reads an entry's id, or the word in an envelope. Returns `null` for other text. Every event that is delivered comes here. */
export function parseEntryId(text: string): EntryId | null {
  const dash = text.indexOf("-");
  const end = dash === -1 ? text.length : dash;
  const offset = readDigits(text, 0, end, MAX_OFFSET_LENGTH);
  const stamps = dash === -1 ? 0 : readDigits(text, dash + 1, text.length, MAX_STAMPS_LENGTH);
  if (stamps === -1 || !Number.isSafeInteger(offset) || offset < 1 || text.startsWith("0")) return null;
  return { offset, stamp: stamps % STAMPS, previousStamp: Math.floor(stamps / STAMPS) };
}

/** Returns -1 unless there are digits and nothing else. */
function readDigits(text: string, start: number, end: number, maxLength: number): number {
  if (end === start || end - start > maxLength) return -1;
  let number = 0;
  for (let index = start; index < end; index++) {
    const digit = text.charCodeAt(index) - 48;
    if (digit < 0 || digit > 9) return -1;
    number = number * 10 + digit;
  }
  return number;
}

/** The place of an entry: without stamps if its own is unknown. */
export function placeOf(epoch: string, { offset, stamp, previousStamp }: EntryId): Partial<EntryId> & Place {
  return stamp === 0 ? { epoch, offset } : { epoch, offset, stamp, previousStamp };
}

interface Place {
  readonly epoch: string;
  readonly offset: number;
}

/** Reads a stamp as Redis stores it. Returns 0 for other text. */
export function parseStamp(text: string): number {
  return /^\d{7}$/.test(text) ? Number(text) : 0;
}

/**
 * Whether the stamp that an event names for the event before it is none: its publisher has noticed that Redis lost an event
 * between them.
 */
export function isLossMark(previousStamp: number): boolean {
  return previousStamp === 1 || previousStamp === 2;
}
