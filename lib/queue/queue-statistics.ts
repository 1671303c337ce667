import type { ErrorCode } from "../catalogue/error-catalogue.js";
import type { QueueEvent } from "./worker/worker-port.js";

/** Counters of a queue in this process. */
export interface QueueStatistics {
  /** The name of the queue. */
  readonly name: string;
  /** Workers of this process that have not stopped. */
  readonly workers: number;
  /** Tasks that run in this process now. */
  readonly running: number;
  /** Tasks that this process enqueued. */
  readonly enqueued: number;
  /** Attempts that started. */
  readonly started: number;
  /** Tasks that succeeded. */
  readonly succeeded: number;
  /** Tasks that became dead letters. */
  readonly failed: number;
  /** Failed attempts that a further attempt follows. */
  readonly retried: number;
  /** Attempts that a stopping worker gave back to the queue. */
  readonly requeued: number;
  /** Attempts that went back to the queue because the worker has no handler for the kind of the task. */
  readonly unknownKind: number;
  /** Outcomes that Redis refused, because the lease had expired or the task was cancelled. */
  readonly refused: number;
  /** Running attempts whose lease expired. */
  readonly lost: number;
  /** Failed Redis calls of workers, by error code. */
  readonly faults: Readonly<Partial<Record<ErrorCode, number>>>;
}

/** Number of tasks of a queue in each state, and counters of all its processes. */
export interface QueueCounts {
  /** Tasks that wait for a worker. */
  readonly queued: number;
  /** Tasks that are not due yet, or wait for their next attempt. */
  readonly delayed: number;
  /** Tasks that a worker runs. */
  readonly running: number;
  /** Succeeded tasks that are still kept. */
  readonly succeeded: number;
  /** Dead letters that are still kept. */
  readonly failed: number;
  /** Cancelled tasks that are still kept. */
  readonly cancelled: number;
  /** Ids of unreadable tasks that are still kept. See `QueueService.listUnreadable()`. */
  readonly unreadable: number;
  /** Whether the queue is paused. Workers of a paused queue start no tasks. */
  readonly paused: boolean;
  /** Counters since the queue was first used. */
  readonly totals: {
    /** Tasks that were enqueued. */
    readonly enqueued: number;
    /** Tasks that succeeded. */
    readonly succeeded: number;
    /** Tasks that became dead letters. */
    readonly failed: number;
    /** Tasks that were cancelled. */
    readonly cancelled: number;
    /** Failed attempts that a further attempt follows. */
    readonly retried: number;
    /** Leases that expired, because the worker crashed or was blocked. */
    readonly lost: number;
    /** Reports and outcomes that Redis refused, because the lease had expired or the task was cancelled. */
    readonly refused: number;
    /** Unreadable tasks that were set aside. */
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
