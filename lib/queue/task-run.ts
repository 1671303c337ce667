import { delay } from "../deadline.js";
import { RedisSseError, sanitize } from "../errors.js";
import { createLog } from "../log.js";
import { TaskFailure, type Task } from "./task.js";
import type { TaskLease, TaskOutcome, WorkerPort } from "./worker-port.js";

/** What a handler gets. */
export interface TaskContext {
  readonly task: Task;
  /** How often this task has been begun, this time included: more than 1 means that a worker was lost. */
  readonly attempt: number;
  /** Fires when the task is not this worker's any more: its lease ran out, or the worker stops. */
  readonly signal: AbortSignal;
  /**
   * Publishes progress from 0 to 100 on `task_progress:{taskId}`. Rejects with `INVALID_TASK` for a bad
   * argument; a fault of Redis is logged and no more, since the work itself goes on.
   */
  readonly progress: (progress: number, message?: string) => Promise<void>;
}

/** How the tasks of one worker are run. */
export interface TaskHandling {
  readonly handler: (context: TaskContext) => unknown;
  readonly leaseMs: number;
  readonly onError: (error: unknown, task: Task) => void;
}

const log = createLog("worker");

/** Between tries to store an outcome. */
const FIRST_PAUSE_MS = 200;
const MAX_PAUSE_MS = 5_000;

/** One task under way: its handler, the lease that is renewed for it, and how it ends. */
export class TaskRun {
  readonly #port: WorkerPort;
  readonly #lease: TaskLease;
  readonly #handling: TaskHandling;
  readonly #aborting = new AbortController();
  readonly #onDone: () => void;
  #cancelRenewal: () => void = () => {};
  #progress: number;
  #over = false;
  #done: Promise<void> = Promise.resolve();

  constructor(port: WorkerPort, lease: TaskLease, handling: TaskHandling, onDone: () => void) {
    this.#port = port;
    this.#lease = lease;
    this.#handling = handling;
    this.#onDone = onDone;
    this.#progress = lease.task.progress;
  }

  /** Resolves when the handler has ended and its outcome is stored, or the task was given back. */
  get done(): Promise<void> {
    return this.#done;
  }

  start(): void {
    log("started: %s", this.#lease.task.id);
    this.#scheduleRenewal();
    this.#done = this.#run();
  }

  /** Gives the task back to the queue, and tells the handler to end; what it still does is not taken. */
  async giveBack(): Promise<void> {
    if (this.#over) return;
    this.#end();
    try {
      await this.#port.giveBack(this.#lease);
      log("given back: %s", this.#lease.task.id);
    } catch (error) {
      // Its lease runs out, and then it is taken up again all the same.
      log("cannot give back %s: %s", this.#lease.task.id, sanitize(error).message);
    }
  }

  async #run(): Promise<void> {
    const { task } = this.#lease;
    const outcome = await this.#attempt();
    // The work is done: its outcome is worth waiting for Redis, and the lease is renewed meanwhile.
    for (let pauseMs = FIRST_PAUSE_MS; !this.#over; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
      try {
        const taken = await this.#finish(outcome);
        log(taken ? "%s: %s" : "refused, another worker has it: %s: %s", outcome.status, task.id);
        return this.#end();
      } catch (error) {
        log("cannot store the outcome of %s: %s", task.id, sanitize(error).message);
      }
      await delay(this.#port.clock, pauseMs, this.#aborting.signal);
    }
  }

  async #attempt(): Promise<TaskOutcome> {
    const { task } = this.#lease;
    try {
      const result = await this.#handling.handler({
        task,
        attempt: task.attempt,
        signal: this.#aborting.signal,
        progress: (progress, message) => this.#report(progress, message),
      });
      return { status: "succeeded", progress: 100, message: "done", result: result ?? null };
    } catch (error) {
      log("handler failed: %s: %s", task.id, error instanceof Error ? error.name : typeof error);
      if (error instanceof TaskFailure) return this.#failed(error.message);
      this.#tell(error);
      return this.#failed("failed");
    }
  }

  /** One that was told to end has every reason to throw. */
  #tell(error: unknown): void {
    if (this.#aborting.signal.aborted) return;
    try {
      this.#handling.onError(error, this.#lease.task);
    } catch (fault) {
      log("onError threw: %s", fault instanceof Error ? fault.name : typeof fault);
    }
  }

  async #finish(outcome: TaskOutcome): Promise<boolean> {
    try {
      return await this.#port.finish(this.#lease, outcome);
    } catch (error) {
      const { code } = sanitize(error);
      if (code !== "UNSERIALIZABLE" && code !== "TASK_TOO_LARGE") throw error;
      return this.#port.finish(this.#lease, this.#failed("the result could not be stored"));
    }
  }

  #failed(message: string): TaskOutcome {
    return { status: "failed", progress: this.#progress, message: message.slice(0, 1_000), result: null };
  }

  async #report(progress: number, message = ""): Promise<void> {
    if (this.#over) return;
    try {
      const taken = await this.#port.report(this.#lease, { progress, message });
      if (taken) this.#progress = progress;
      else this.#lost();
    } catch (error) {
      if (error instanceof RedisSseError && error.code === "INVALID_TASK") throw error;
      log("cannot publish progress: %s", sanitize(error).message);
    }
  }

  #scheduleRenewal(): void {
    this.#cancelRenewal = this.#port.clock.schedule(() => void this.#renew(), this.#handling.leaseMs / 3);
  }

  async #renew(): Promise<void> {
    try {
      if (!(await this.#port.renew(this.#lease, this.#handling.leaseMs))) return this.#lost();
    } catch (error) {
      log("cannot renew the lease: %s", sanitize(error).message);
    }
    if (!this.#over) this.#scheduleRenewal();
  }

  #lost(): void {
    if (this.#over) return;
    log("lost to another worker: %s", this.#lease.task.id);
    this.#end();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#cancelRenewal();
    this.#aborting.abort();
    this.#onDone();
  }
}
