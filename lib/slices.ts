import { monotonicNow, type Clock } from "./clock.js";

/** Milliseconds of one event-loop turn that long work may take. */
const SLICE_MS = 10;

/** Steps between two looks at the clock: twice as many after short steps, half as many after long ones. */
const MAX_STRIDE = 64;
const SHORT_MS = 0.5;

/** Work that can stop after each of its steps. It yields if `Slices.isOver()` says so. */
export type Work = Iterator<void, void>;

/**
 * Runs work on many streams in slices of 10 ms, so that timers, Redis replies and other requests get their turn in between.
 * Work starts at once, in the order in which it was added. Work that ends within its slice costs no further turn.
 */
export class Slices {
  readonly #clock: Clock;
  readonly #queue: Work[] = [];
  #isRunning = false;
  #next: NodeJS.Immediate | null = null;
  #startedAt = 0;
  #lookedAt = 0;
  #stride = 1;
  #stepsLeft = 1;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether some work has not ended. */
  get isBusy(): boolean {
    return this.#queue.length > 0;
  }

  add(work: Work): void {
    this.#queue.push(work);
    if (!this.#isRunning && this.#next === null) this.#run();
  }

  /** Counts one step of the running work. Returns true if the work must yield. */
  isOver(): boolean {
    return --this.#stepsLeft <= 0 && this.#look();
  }

  /** Runs all work to its end, in this turn. Does nothing if a step of the work calls it. */
  finish(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      for (let work = this.#queue[0]; work !== undefined; work = this.#queue[0]) {
        while (work.next().done !== true);
        this.#queue.shift();
      }
    } finally {
      this.#isRunning = false;
    }
  }

  readonly #run = (): void => {
    this.#next = null;
    this.#isRunning = true;
    this.#startedAt = this.#lookedAt = monotonicNow(this.#clock);
    this.#stepsLeft = this.#stride;
    try {
      for (let work = this.#queue[0]; work !== undefined; work = this.#queue[0]) {
        if (work.next().done !== true) break;
        this.#queue.shift();
      }
    } finally {
      this.#isRunning = false;
      if (this.#queue.length > 0) this.#next = setImmediate(this.#run);
    }
  };

  #look(): boolean {
    const now = monotonicNow(this.#clock);
    const isShort = now - this.#lookedAt < SHORT_MS;
    this.#stride = isShort ? Math.min(this.#stride * 2, MAX_STRIDE) : Math.max(this.#stride >> 1, 1);
    this.#stepsLeft = this.#stride;
    this.#lookedAt = now;
    return now - this.#startedAt >= SLICE_MS;
  }
}
