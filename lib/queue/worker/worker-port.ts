import type { Clock } from "../../clock.js";
import { sanitize } from "../../errors.js";
import type { ErrorCode } from "../../catalogue/error-catalogue.js";
import type { QueueSettings } from "../queue-options.js";
import type { ClaimReply, DueSchedule } from "../scripts/claim.js";
import type { ReportReply } from "../scripts/report.js";
import type { RenewReply } from "../scripts/settle.js";
import type { TaskLease } from "./task-lease.js";
import type { OnWake, WorkerGroup } from "./worker-group.js";
import type { ServiceLog } from "../../logger.js";
import type { TellFault } from "./worker-faults.js";

/**
 * The outcome of an attempt.
 *
 * - `retry`: it failed, and a further attempt follows
 * - `back`: a stopping worker gives the task back
 * - `unknown`: the worker has no handler for the kind of the task
 */
export interface TaskOutcome {
  readonly verdict: "succeeded" | "failed" | "retry" | "back" | "unknown";
  readonly progress: number;
  readonly message: string;
  /** The result as JSON, or the error. */
  readonly content: string;
  /** Wait before the next attempt. For `unknown`, how long the task can go back to the queue before it fails. */
  readonly delayMs: number;
  /** How long the finished task is kept. */
  readonly ttlMs: number;
}

/** An event of a task other than progress: a chunk of its output, or a line of its log. */
export interface OutputEvent {
  /** Whether the data is text, which can be joined with the next text. */
  readonly isText: boolean;
  readonly name: "chunk" | "log";
  readonly data: string;
}

export interface TaskReport {
  /** Number of the report in its attempt. If a report is sent again, Redis recognizes it by this number. */
  readonly number: number;
  readonly progress: number | null;
  readonly message: string;
  /** As JSON. Empty if no object was given. */
  readonly data: string;
  readonly output: readonly OutputEvent[];
}

/** An event that `QueueStatistics` counts. */
export type QueueEvent =
  "started" | "succeeded" | "failed" | "retried" | "requeued" | "unknownKind" | "refused" | "lost";

/** The parts of a queue that a worker uses. The functions that return a promise reject with a Redis error. */
export interface WorkerPort {
  readonly clock: Clock;
  /** The name of the queue. */
  readonly queue: string;
  readonly settings: QueueSettings;
  /** Maximum size of a result or of one event, in bytes. */
  readonly maxBytes: number;
  readonly onWake: OnWake;
  /** The workers of this queue in this process. */
  readonly group: WorkerGroup;
  claim(want: number, leaseMs: number, worker: string, call: string): Promise<ClaimReply>;
  /** Enqueues the tasks of a due schedule. `now` is the time of Redis. */
  fire(schedule: DueSchedule, now: number): Promise<void>;
  /** Renews leases. Resolves to one reply for each lease. */
  renew(leases: readonly TaskLease[], leaseMs: number): Promise<readonly RenewReply[]>;
  /** Reads the stored errors of a task. Resolves to an empty text if no error is stored. */
  readError(taskId: string): Promise<string>;
  report(lease: TaskLease, report: TaskReport): Promise<ReportReply>;
  /**
   * Stores outcomes. Resolves, for each, to whether Redis accepted it.
   *
   * Redis refuses an outcome if the lease has expired or the task was cancelled.
   */
  settle(entries: readonly { lease: TaskLease; outcome: TaskOutcome }[]): Promise<readonly boolean[]>;
  count(event: QueueEvent): void;
  countFault(code: ErrorCode): void;
  /** The log of the service. */
  readonly log: ServiceLog;
}

/** Wraps a port: each Redis error is counted and reported to `tell`. Then the call rejects with it. */
export function withFaults(port: WorkerPort, tell: TellFault): WorkerPort {
  const watch = async <T>(call: Promise<T>): Promise<T> => {
    try {
      return await call;
    } catch (error) {
      const fault = sanitize(error);
      if (!ENDINGS.has(fault.code)) {
        port.countFault(fault.code);
        tell(fault);
      }
      throw fault;
    }
  };
  return {
    clock: port.clock,
    queue: port.queue,
    settings: port.settings,
    log: port.log,
    group: port.group,
    get maxBytes() {
      return port.maxBytes;
    },
    onWake: (listener) => port.onWake(listener),
    claim: (...given) => watch(port.claim(...given)),
    fire: (...given) => watch(port.fire(...given)),
    renew: (...given) => watch(port.renew(...given)),
    readError: (...given) => watch(port.readError(...given)),
    report: (...given) => watch(port.report(...given)),
    settle: (...given) => watch(port.settle(...given)),
    count: (event) => port.count(event),
    countFault: (code) => port.countFault(code),
  };
}

/** Errors that only say that the service is being closed. They are not counted. */
const ENDINGS: ReadonlySet<ErrorCode> = new Set(["CLOSED", "ABORTED"]);
