import { machineNow } from "./patience.js";

/** In place of an event's code: the client was told that something is missing here. */
export const GAP = -1;

/**
 * What one client has received of one channel, over all its connections, in order. Of millions of events there are
 * four numbers each: which it is, place and stamp that its id says, and the connection that it came over.
 */
export class Trail {
  readonly codes: number[] = [];
  readonly offsets: number[] = [];
  readonly connections: number[] = [];
  /** The stamps that the ids have; 0 if there is none. */
  readonly stamps: number[] = [];
  /** When each connection began and ended, by its number. */
  readonly spans: Map<number, { readonly from: number; to: number }> = new Map();
  /** When the last gap came. */
  gapAt: number = -Infinity;
  /** Where the client began, by the id of its first `connected`. */
  readonly beginning: number;
  /** When it knew that it had begun, as `machineNow()`: what is published from then on has to come. */
  readonly begunAt: number;

  constructor(beginning: number, begunAt: number) {
    this.beginning = beginning;
    this.begunAt = begunAt;
  }

  get length(): number {
    return this.codes.length;
  }

  push(code: number, offset: number, connection: number, stamp = 0): void {
    if (code === GAP) this.gapAt = machineNow();
    this.codes.push(code);
    this.offsets.push(offset);
    this.connections.push(connection);
    this.stamps.push(stamp);
  }
}
