/** Times in which events can have been lost, before replication or between two nodes. */
export class Losses {
  /** Whether a server with fewer events can replace another one. */
  readonly possible: boolean;
  readonly #windows: readonly Window[];
  readonly #deaf: readonly Window[];

  /** `windows` are times of failovers. `deaf` are times with cut bus links between nodes. */
  constructor(possible: boolean, windows: readonly Window[], deaf: readonly Window[] = []) {
    this.possible = possible;
    this.#windows = windows;
    this.#deaf = deaf;
  }

  /** Whether an event in transit between these times (`machineNow()`) can have met a failover. */
  mayHaveMet(from: number, to: number): boolean {
    return meets(this.#windows, from, to);
  }

  /** Same as `mayHaveMet()`, for an event without history. Only the bus carries it to other nodes. */
  mayBeUnheard(from: number, to: number): boolean {
    return this.mayHaveMet(from, to) || meets(this.#deaf, from, to);
  }
}

export interface Window {
  readonly from: number;
  readonly to: number;
}

function meets(windows: readonly Window[], from: number, to: number): boolean {
  return windows.some((window) => from <= window.to && window.from <= to);
}

export const NO_LOSSES: Losses = new Losses(false, []);
