/** What was lost before it could be replicated, or between two nodes: when that may have happened, and where it did. */
export class Losses {
  /** Whether any server may take over from another that had more. */
  readonly possible: boolean;
  readonly #windows: readonly Window[];

  constructor(possible: boolean, windows: readonly Window[]) {
    this.possible = possible;
    this.#windows = windows;
  }

  /** Whether what was on its way between these moments, as `machineNow()`, may have met with such a fault. */
  mayHaveMet(from: number, to: number): boolean {
    return this.#windows.some((window) => from <= window.to && window.from <= to);
  }
}

export interface Window {
  readonly from: number;
  readonly to: number;
}

export const NO_LOSSES: Losses = new Losses(false, []);
