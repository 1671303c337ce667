import type { Clock } from "../../clock.js";
import { sanitize } from "../../errors.js";
import type { ErrorCode } from "../../error-catalogue.js";
import type { QueueSettings } from "../queue-options.js";
import type { ClaimReply, DueSchedule } from "../scripts/claim.js";
import type { ReportReply } from "../scripts/report.js";
import type { RenewReply } from "../scripts/settle.js";
import type { TaskLease } from "./task-lease.js";
import type { OnWake, WorkerGroup } from "./worker-group.js";
import type { ServiceLog } from "../../logger.js";
import type { TellFault } from "./worker-faults.js";

/** What became of an attempt. */
export interface TaskOutcome {
  readonly verdict: "succeeded" | "failed" | "retry" | "back" | "unknown";
  readonly progress: number;
  readonly message: string;
  /** The result as JSON, or what went wrong. */
  readonly content: string;
  /** Until it is tried again; for a task of unknown kind, how long after it was first met it may come back. */
  readonly delayMs: number;
  /** For which it is kept. */
  readonly ttlMs: number;
}

/** Other events of a task: a chunk of its output, a line of its log. */
export interface OutputEvent {
  /** Whether it may be joined with text that follows it. */
  readonly isText: boolean;
  readonly name: "chunk" | "log";
  readonly data: string;
}

export interface TaskReport {
  /** Which report of the attempt this is: one that is sent again takes effect once. */
  readonly number: number;
  readonly progress: number | null;
  readonly message: string;
  /** As JSON; empty for none. */
  readonly data: string;
  readonly output: readonly OutputEvent[];
}

/** What happens to a queue's tasks in this process, to be counted. */
export type QueueEvent =
  "started" | "succeeded" | "failed" | "retried" | "requeued" | "unknownKind" | "refused" | "lost";

/** The queue, as a worker sees it. All but `onWake`, `count` and `countFault` reject with a fault of Redis. */
export interface WorkerPort {
  readonly clock: Clock;
  /** Its name. */
  readonly queue: string;
  readonly settings: QueueSettings;
  /** Bytes of a result, or of one event. */
  readonly maxBytes: number;
  readonly onWake: OnWake;
  /** The workers of this queue in this process. */
  readonly group: WorkerGroup;
  claim(want: number, leaseMs: number, worker: string, call: string): Promise<ClaimReply>;
  /** Puts in line what a schedule is due for; `now` is Redis' time. */
  fire(schedule: DueSchedule, now: number): Promise<void>;
  /** For each whether the task is still that worker's. */
  renew(leases: readonly TaskLease[], leaseMs: number): Promise<readonly RenewReply[]>;
  /** What is stored of a task's last errors; empty if there is nothing. */
  readError(taskId: string): Promise<string>;
  report(lease: TaskLease, report: TaskReport): Promise<ReportReply>;
  /** For each whether it was taken: one that is refused is another worker's by now. */
  settle(entries: readonly { lease: TaskLease; outcome: TaskOutcome }[]): Promise<readonly boolean[]>;
  count(event: QueueEvent): void;
  countFault(code: ErrorCode): void;
  /** The messages of the service. */
  readonly log: ServiceLog;
}

/** The queue as `port`, whose faults are counted and told before they are passed on. */
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

/** The service closes: no fault. */
const ENDINGS: ReadonlySet<ErrorCode> = new Set(["CLOSED", "ABORTED"]);
