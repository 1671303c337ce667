/**
 * The id of an entry in a channel's log, which is also the second word of an envelope's `place`:
 *
 *     offset "-" stamp of the event before it (8 digits; absent if unknown)  stamp of the event (8 digits)
 *
 * A failover can lose the newest events of a log, and Redis then gives their offsets to other events. The stamps tell these
 * events from the lost ones. An entry that another program has written without stamps has the id `17-0`.
 */
export interface EntryId {
  readonly offset: number;
  /** Tells the event from another one at the same offset of the same log; 0 if unknown. */
  readonly stamp: number;
  /** The stamp of the event before it; 0 if unknown. */
  readonly previousStamp: number;
}

const STAMP_DIGITS = 8;
const ENTRY_ID = /^([1-9]\d{0,15})(?:-(\d{1,20}))?$/;

/** Reads an entry's id, or the word in an envelope. Returns `null` for text that is none. */
export function parseEntryId(text: string): EntryId | null {
  const found = ENTRY_ID.exec(text);
  if (found === null) return null;
  const offset = Number(found[1]);
  if (!Number.isSafeInteger(offset)) return null;
  const stamps = found[2] ?? "";
  return {
    offset,
    stamp: parseStamp(stamps.slice(-STAMP_DIGITS)),
    previousStamp: parseStamp(stamps.slice(0, -STAMP_DIGITS)),
  };
}

/** The place of an entry: without stamps if its own is unknown. */
export function placeOf(epoch: string, { offset, stamp, previousStamp }: EntryId): Partial<EntryId> & Place {
  return stamp === 0 ? { epoch, offset } : { epoch, offset, stamp, previousStamp };
}

interface Place {
  readonly epoch: string;
  readonly offset: number;
}

/** Reads a stamp; 0 for text that is none. */
export function parseStamp(text: string): number {
  const stamp = text.length === STAMP_DIGITS ? Number(text) : 0;
  return isStamp(stamp) ? stamp : 0;
}

/** Scripts write stamps from 10,000,000 to 15,999,999, which take 24 bits in the id of an SSE event. */
export function isStamp(number: number): boolean {
  return number >= 10_000_000 && number < 16_000_000;
}
