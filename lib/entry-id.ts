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

const ENTRY_ID = /^([1-9]\d{0,15})(?:-(\d{1,14}))?$/;

/** Reads an entry's id, or the word in an envelope. Returns `null` for other text. */
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
