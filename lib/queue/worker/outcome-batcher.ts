import { setMaxListeners } from "node:events";

import { delay } from "../../deadline.js";
import { sanitize } from "../../errors.js";
import { createLog } from "../../log.js";
import type { TaskLease } from "./task-lease.js";
import type { TaskOutcome, WorkerPort } from "./worker-port.js";

interface Entry {
  readonly lease: TaskLease;
  readonly outcome: TaskOutcome;
  /** Whether anybody still waits: the lease may have been lost meanwhile. */
  readonly isWanted: () => boolean;
  readonly resolve: (taken: boolean | null) => void;
}

const log = createLog("worker");

/** In one script, so that a burst of ends does not hold the server for long. */
const MAX_ENTRIES = 100;
/** Between tries to store outcomes. */
const FIRST_PAUSE_MS = 200;
const MAX_PAUSE_MS = 5_000;

/**
 * Stores what became of attempts, those of one turn together. The work is done, and its outcome is worth waiting for
 * Redis: it is tried until it is stored, as long as somebody waits for it. A batch that Redis refuses is tried one by one.
 */
export class OutcomeBatcher {
  readonly #port: WorkerPort;
  readonly #closing = new AbortController();
  #waiting: Entry[] = [];

  constructor(port: WorkerPort) {
    this.#port = port;
    // Each batch that waits for Redis listens, and there are as many as tasks at once: no leak.
    setMaxListeners(0, this.#closing.signal);
  }

  /** Whether it was taken; `null` for one that was given up: nobody knows. Never rejects. */
  settle(lease: TaskLease, outcome: TaskOutcome, isWanted: () => boolean): Promise<boolean | null> {
    return new Promise((resolve) => {
      if (this.#waiting.length === 0) queueMicrotask(() => this.#flush());
      this.#waiting.push({ lease, outcome, isWanted, resolve });
    });
  }

  /** Gives up what could not be stored: its leases run out by themselves. */
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
        // A script is all or nothing: one outcome that Redis refuses would hold back the others for ever.
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
