import { machineNow } from "./patience.js";

/** Used instead of an event code. The client got a gap here. */
export const GAP = -1;

/**
 * The events that one client received on one channel over all its connections, in order. There are millions of
 * events, so each is stored as four numbers: its code, position, stamp and connection.
 */
export class Trail {
  readonly codes: number[] = [];
  readonly offsets: number[] = [];
  readonly connections: number[] = [];
  /** Stamps from the ids. 0 if an id has no stamp. */
  readonly stamps: number[] = [];
  /** Start and end of each connection, by its number. */
  readonly spans: Map<number, { readonly from: number; to: number }> = new Map();
  /** Time of the last gap. */
  gapAt: number = -Infinity;
  /** Start position of the client, from the id of its first `connected`. */
  readonly beginning: number;
  /** Time at which the client got `connected`, from `machineNow()`. All later events must arrive. */
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
