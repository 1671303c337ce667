import type { Clock } from "../clock.js";
import type { ProgressReport, Task } from "./task.js";

/** A task that a worker has taken, with the token that proves it. Each attempt has a token of its own. */
export interface TaskLease {
  readonly task: Task;
  readonly token: string;
}

export interface TaskOutcome {
  readonly status: "succeeded" | "failed";
  readonly progress: number;
  readonly message: string;
  /** What the handler returned. */
  readonly result: unknown;
}

/** The queue, as a worker sees it. Every answer `false` means: the task is not this worker's any more. */
export interface WorkerPort {
  readonly clock: Clock;
  /** Calls back when a task may be ready; the answer ends it. */
  onWake(listener: () => void): () => void;
  claim(leaseMs: number): Promise<TaskLease | null>;
  renew(lease: TaskLease, leaseMs: number): Promise<boolean>;
  report(lease: TaskLease, report: ProgressReport): Promise<boolean>;
  finish(lease: TaskLease, outcome: TaskOutcome): Promise<boolean>;
  giveBack(lease: TaskLease): Promise<boolean>;
}
