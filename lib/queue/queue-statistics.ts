import type { ErrorCode } from "../error-catalogue.js";
import type { QueueEvent } from "./worker/worker-port.js";

/** What has happened to a queue's tasks in this process. */
export interface QueueStatistics {
  /** The name of the queue. */
  readonly name: string;
  /** Workers of this process that have not stopped. */
  readonly workers: number;
  /** Tasks under way in this process. */
  readonly running: number;
  /** Put in line by this process. */
  readonly enqueued: number;
  /** Attempts begun. */
  readonly started: number;
  /** Tasks that succeeded. */
  readonly succeeded: number;
  /** Ended among the dead letters. */
  readonly failed: number;
  /** Attempts that failed and were not the last. */
  readonly retried: number;
  /** Attempts given back by a worker that stopped. */
  readonly requeued: number;
  /** Attempts that met a kind of task without a handler in this process. */
  readonly unknownKind: number;
  /** Outcomes that came too late: another worker had the task by then. */
  readonly refused: number;
  /** Attempts whose lease ran out while they were under way. */
  readonly lost: number;
  /** Calls of workers to Redis that failed, by the code of the error. */
  readonly faults: Readonly<Partial<Record<ErrorCode, number>>>;
}

/** How many tasks of a queue there are, and what all its processes have counted since it was first used. */
export interface QueueCounts {
  /** Tasks that wait for a worker. */
  readonly queued: number;
  /** Not due yet, or waiting to be tried again. */
  readonly delayed: number;
  /** Tasks that a worker has. */
  readonly running: number;
  /** Succeeded tasks that are still kept. */
  readonly succeeded: number;
  /** The dead letters. */
  readonly failed: number;
  /** Cancelled tasks that are still kept. */
  readonly cancelled: number;
  /** Ids set aside because their tasks cannot be read. */
  readonly unreadable: number;
  /** Whether the queue is paused: workers start no task. */
  readonly paused: boolean;
  /** Counts since the queue was first used. */
  readonly totals: {
    /** Tasks that were put in line. */
    readonly enqueued: number;
    /** Tasks that succeeded. */
    readonly succeeded: number;
    /** Tasks that failed for good. */
    readonly failed: number;
    /** Tasks that were cancelled. */
    readonly cancelled: number;
    /** Failed attempts that a further attempt follows. */
    readonly retried: number;
    /** Leases that ran out, each for a worker that was lost or too slow. */
    readonly lost: number;
    /** Reports and outcomes of such workers that came too late. */
    readonly refused: number;
    /** Ids that were set aside because their tasks could not be read. */
    readonly unreadable: number;
    /** How often a task went back to the queue because a worker had no handler for its kind. */
    readonly unknownKind: number;
  };
}

export class QueueCounter {
  readonly #counts: Record<QueueEvent | "enqueued", number> = {
    enqueued: 0,
    started: 0,
    succeeded: 0,
    failed: 0,
    retried: 0,
    requeued: 0,
    unknownKind: 0,
    refused: 0,
    lost: 0,
  };

  readonly #faults: Partial<Record<ErrorCode, number>> = {};

  count(event: QueueEvent | "enqueued"): void {
    this.#counts[event]++;
  }

  countFault(code: ErrorCode): void {
    this.#faults[code] = (this.#faults[code] ?? 0) + 1;
  }

  get counts(): Readonly<Record<QueueEvent | "enqueued", number>> & Pick<QueueStatistics, "faults"> {
    return { ...this.#counts, faults: { ...this.#faults } };
  }
}

export function toCounts(reply: readonly number[]): QueueCounts {
  const [queued, delayed, running, unreadable, succeeded, failed, cancelled, paused, ...totals] =
    reply as number[];
  return {
    queued: queued!,
    delayed: delayed!,
    running: running!,
    succeeded: succeeded!,
    failed: failed!,
    cancelled: cancelled!,
    unreadable: unreadable!,
    paused: paused === 1,
    totals: {
      enqueued: totals[0]!,
      succeeded: totals[1]!,
      failed: totals[2]!,
      cancelled: totals[3]!,
      retried: totals[4]!,
      lost: totals[5]!,
      refused: totals[6]!,
      unreadable: totals[7]!,
      unknownKind: totals[8]!,
    },
  };
}
