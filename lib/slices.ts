import type { Awaitable } from "./awaitable.js";
import { monotonicNow, type Clock } from "./clock.js";

/** Milliseconds of one event-loop turn that long work may take. */
const SLICE_MS = 10;

/**
 * Steps between two looks at the clock: twice as many after short steps, half as many after long ones. Each slice starts with
 * few steps, because its steps can take far longer than the steps of the previous slice.
 */
const FIRST_STRIDE = 2;
const MAX_STRIDE = 16;
const SHORT_MS = 0.5;

/** Streams that may go on in one turn, at first and at most. The number follows the time that they take. */
const FIRST_BATCH = 16;
const MAX_BATCH = 64;

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
  #stride = FIRST_STRIDE;
  #stepsLeft = FIRST_STRIDE;
  readonly #waiters: (() => void)[] = [];
  #batch = FIRST_BATCH;
  #batchLeft = FIRST_BATCH;
  #batchStartedAt = 0;
  #batchEnd: NodeJS.Immediate | null = null;
  /** Whether the batch has streams that had waited. Then only their own time counts. */
  #hasReleased = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether some work has not ended, or waits. Only tests need it. */
  get isBusy(): boolean {
    return this.#queue.length > 0 || this.#waiters.length > 0;
  }

  add(work: Work): void {
    this.#queue.push(work);
    if (!this.#isRunning && this.#next === null) this.#run();
  }

  /** Counts one step of the running work. Returns true if the work must yield. */
  isOver(): boolean {
    return --this.#stepsLeft <= 0 && this.#look();
  }

  /**
   * Asked by work that continues after an answer of Redis, which may answer thousands of streams in one turn. Returns no
   * promise if the work may go on now. Work goes on in the order in which it asked.
   */
  turn(): Awaitable<void> {
    if (this.#batchEnd === null) this.#startBatch();
    if (this.#batchLeft > 0) {
      this.#batchLeft--;
      return;
    }
    return new Promise((resolve) => this.#waiters.push(resolve));
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
    this.#stepsLeft = this.#stride = FIRST_STRIDE;
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

  #startBatch(): void {
    this.#batchLeft = this.#batch;
    this.#batchStartedAt = monotonicNow(this.#clock);
    this.#batchEnd = setImmediate(this.#endBatch);
    setImmediate(this.#judgeReleased);
  }

  readonly #endBatch = (): void => {
    this.#batchEnd = null;
    if (!this.#hasReleased) this.#judge();
    this.#hasReleased = this.#waiters.length > 0;
    if (!this.#hasReleased) return;
    this.#startBatch();
    const released = this.#waiters.splice(0, this.#batch);
    this.#batchLeft -= released.length;
    for (const release of released) release();
  };

  /** Runs directly after the released streams, so other work of the turn does not count. Busy fan-out must not stop them. */
  readonly #judgeReleased = (): void => {
    if (this.#hasReleased) this.#judge();
  };

  #judge(): void {
    const tookMs = monotonicNow(this.#clock) - this.#batchStartedAt;
    if (tookMs >= SLICE_MS) this.#batch = Math.max(this.#batch >> 1, 1);
    else if (tookMs < SLICE_MS / 2 && this.#batchLeft === 0)
      this.#batch = Math.min(this.#batch * 2, MAX_BATCH);
  }

  #look(): boolean {
    const now = monotonicNow(this.#clock);
    const isShort = now - this.#lookedAt < SHORT_MS;
    this.#stride = isShort ? Math.min(this.#stride * 2, MAX_STRIDE) : Math.max(this.#stride >> 1, 1);
    this.#stepsLeft = this.#stride;
    this.#lookedAt = now;
    return now - this.#startedAt >= SLICE_MS;
  }
}
