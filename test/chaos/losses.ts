/** When events may have been lost: before they were replicated, or between two nodes. */
export class Losses {
  /** Whether any server may take over from another that had more. */
  readonly possible: boolean;
  readonly #windows: readonly Window[];
  readonly #deaf: readonly Window[];

  /** In `windows` a server was replaced, in `deaf` bus links between nodes were cut. */
  constructor(possible: boolean, windows: readonly Window[], deaf: readonly Window[] = []) {
    this.possible = possible;
    this.#windows = windows;
    this.#deaf = deaf;
  }

  /** Whether what was on its way between these moments, as `machineNow()`, may have met with such a fault. */
  mayHaveMet(from: number, to: number): boolean {
    return meets(this.#windows, from, to);
  }

  /** As `mayHaveMet()`, of an event without history, which only the bus brings to other nodes. */
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
