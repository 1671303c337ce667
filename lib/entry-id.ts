/**
 * The id of an entry in a channel's log. It is also the second word of the `place` in an envelope:
 *
 *     offset "-" stamp of the previous event (7 digits; absent if unknown)  stamp of the event (7 digits)
 *
 * A failover can lose the newest events of a log. Then other events get the same offsets, but other stamps. An entry without
 * stamps, written by another program, has an id such as `17-0`.
 */
export interface EntryId {
  readonly offset: number;
  /** Distinguishes two events that had the same offset in the same log. Below `STAMPS`; 0 if unknown. */
  readonly stamp: number;
  /** The stamp of the previous event; 0 if unknown. */
  readonly previousStamp: number;
}

/** The number of possible stamps. An SSE id has 24 bits for a stamp. */
export const STAMPS = 10_000_000;

const MAX_STAMPS_LENGTH = 14;
const MAX_OFFSET_LENGTH = 16;

/** Reads the id of an entry. Returns `null` for other text. It runs for each delivered event, so it must be fast. */
export function parseEntryId(text: string): EntryId | null {
  const dash = text.indexOf("-");
  const end = dash === -1 ? text.length : dash;
  const offset = readDigits(text, 0, end, MAX_OFFSET_LENGTH);
  const stamps = dash === -1 ? 0 : readDigits(text, dash + 1, text.length, MAX_STAMPS_LENGTH);
  if (stamps === -1 || !Number.isSafeInteger(offset) || offset < 1 || text.startsWith("0")) return null;
  return { offset, stamp: stamps % STAMPS, previousStamp: Math.floor(stamps / STAMPS) };
}

/** Returns -1 if the text has other characters than digits. */
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

/** The place of an entry. It has no stamps if the stamp of the entry is unknown. */
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
 * Whether this stamp of a previous event is not real, but marks a loss: the publisher noticed that Redis lost an event before
 * the current one.
 */
export function isLossMark(previousStamp: number): boolean {
  return previousStamp === 1 || previousStamp === 2;
}
