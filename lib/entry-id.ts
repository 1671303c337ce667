/**
 * The id of an entry in a channel's log, which is also the second word of an envelope's `place`:
 *
 *     offset "-" stamp of the event before it (7 digits; absent if unknown)  stamp of the event (7 digits)
 *
 * A failover can lose the newest events of a log, and Redis then gives their offsets to other events. The stamps tell these
 * events from the lost ones. An entry that another program has written without stamps has the id `17-0`.
 */
export interface EntryId {
  readonly offset: number;
  /** Tells the event from another one at the same offset of the same log, below `STAMPS`; 0 if unknown. */
  readonly stamp: number;
  /** The stamp of the event before it; 0 if unknown. */
  readonly previousStamp: number;
}

/** How many stamps there are. An SSE id has 24 bits for one. */
export const STAMPS = 10_000_000;

const ENTRY_ID = /^([1-9]\d{0,15})(?:-(\d{1,14}))?$/;

/** Reads an entry's id, or the word in an envelope. Returns `null` for text that is none. */
export function parseEntryId(text: string): EntryId | null {
  const found = ENTRY_ID.exec(text);
  if (found === null) return null;
  const offset = Number(found[1]);
  if (!Number.isSafeInteger(offset)) return null;
  const stamps = Number(found[2] ?? 0);
  return { offset, stamp: stamps % STAMPS, previousStamp: Math.floor(stamps / STAMPS) };
}

/** The place of an entry: without stamps if its own is unknown. */
export function placeOf(epoch: string, { offset, stamp, previousStamp }: EntryId): Partial<EntryId> & Place {
  return stamp === 0 ? { epoch, offset } : { epoch, offset, stamp, previousStamp };
}

interface Place {
  readonly epoch: string;
  readonly offset: number;
}

/** Reads a stamp as Redis has it; 0 for text that is none. */
export function parseStamp(text: string): number {
  return /^\d{7}$/.test(text) ? Number(text) : 0;
}
