import { setMaxListeners } from "node:events";

import { delay } from "../../deadline.js";
import { sanitize } from "../../errors.js";
import { createLog } from "../../log.js";
import type { TaskLease } from "./task-lease.js";
import type { TaskOutcome, WorkerPort } from "./worker-port.js";

interface Entry {
  readonly lease: TaskLease;
  readonly outcome: TaskOutcome;
  /** Whether the outcome still counts. It does not if the lease has expired or the task was cancelled. */
  readonly isWanted: () => boolean;
  readonly resolve: (taken: boolean | null) => void;
}

const log = createLog("worker");

/** Number of outcomes in one call of the script. Redis runs no other command while a script runs. */
const MAX_ENTRIES = 100;
/** Pauses between two tries to store outcomes. */
const FIRST_PAUSE_MS = 200;
const MAX_PAUSE_MS = 5_000;

/**
 * Stores the outcomes of attempts. The outcomes of one event-loop turn share a call of the script.
 *
 * If Redis is unavailable, the batcher tries again until the outcome is stored or no longer counts: the work must not
 * be lost. If Redis refuses a batch, it stores each outcome of the batch separately.
 */
export class OutcomeBatcher {
  readonly #port: WorkerPort;
  readonly #closing = new AbortController();
  #waiting: Entry[] = [];

  constructor(port: WorkerPort) {
    this.#port = port;
    // Each batch that waits for Redis adds a listener. Node.js would report more than ten listeners as a leak.
    setMaxListeners(0, this.#closing.signal);
  }

  /**
   * Stores an outcome. Resolves to whether Redis accepted it. Never rejects.
   *
   * It resolves to `null` if it stops trying. Then Redis may have stored the outcome or not.
   */
  settle(lease: TaskLease, outcome: TaskOutcome, isWanted: () => boolean): Promise<boolean | null> {
    return new Promise((resolve) => {
      if (this.#waiting.length === 0) queueMicrotask(() => this.#flush());
      this.#waiting.push({ lease, outcome, isWanted, resolve });
    });
  }

  /** Stops trying to store outcomes. The leases of these attempts expire by themselves. */
  close(): void {
    this.#closing.abort();
  }

  #flush(): void {
    const entries = this.#waiting;
    this.#waiting = [];
    for (let index = 0; index < entries.length; index += MAX_ENTRIES) {
      void this.#store(entries.slice(index, index + MAX_ENTRIES));
    }
  }

  async #store(entries: readonly Entry[]): Promise<void> {
    let left = entries;
    for (let pauseMs = FIRST_PAUSE_MS; left.length > 0; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
      try {
        const taken = await this.#port.settle(left);
        left.forEach(({ resolve }, index) => resolve(taken[index]!));
        return;
      } catch (error) {
        const fault = sanitize(error);
        log("cannot store %d outcomes: %s", left.length, fault.message);
        // Redis stores all outcomes of a batch or none. One outcome that Redis refuses must not block the others
        // forever.
        if (left.length > 1 && !fault.retryable && !this.#closing.signal.aborted) {
          for (const entry of left) void this.#store([entry]);
          return;
        }
      }
      await delay(this.#port.clock, pauseMs, this.#closing.signal);
      const unwanted = left.filter(({ isWanted }) => this.#closing.signal.aborted || !isWanted());
      for (const { resolve } of unwanted) resolve(null);
      left = left.filter((entry) => !unwanted.includes(entry));
    }
  }
}
