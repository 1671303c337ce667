import { monotonicNow } from "../../clock.js";
import { withDeadline } from "../../deadline.js";
import { diagnosticChannel, type DiagnosticEvents } from "../../catalogue/diagnostics.js";
import { RedisSseError } from "../../errors.js";
import { createLog } from "../../log.js";
import { describeThrown, ignoreRejection, isInstance, nameOfThrown, readProperty } from "../../thrown.js";
import { addError } from "./attempt-errors.js";
import { backoffDelay } from "../backoff.js";
import type { OutcomeBatcher } from "./outcome-batcher.js";
import { boundedJson, readChunk, readHandlerProgress, readLine, type TaskContext } from "./task-context.js";
import { UnknownKind } from "./task-handlers.js";
import type { TaskLease } from "./task-lease.js";
import { TaskReporter } from "./task-reporter.js";
import { MAX_MESSAGE, TaskFailure, type Task } from "../task.js";
import type { OutputEvent, TaskOutcome, WorkerPort } from "./worker-port.js";

/** The callbacks of a worker. */
export interface TaskHandling {
  readonly handler: (context: TaskContext) => unknown;
  readonly onError: (error: unknown, task: Task) => void;
}

/** The owner of an attempt. Each method is called at most once for an attempt. */
export interface TaskRunOwner {
  /** The outcome is known, and will be stored. */
  onDecided(run: TaskAttempt): void;
  /** The attempt is over. */
  onDone(run: TaskAttempt): void;
}

const log = createLog("worker");
const started = diagnosticChannel("redis-sse:task:start");
const ended = diagnosticChannel("redis-sse:task:end");

/** How long a failed attempt waits to read the errors of earlier attempts. */
const READ_ERROR_MS = 1_000;

/** One attempt of a task. It runs the handler, sends its reports, and stores its outcome. */
export class TaskAttempt {
  readonly lease: TaskLease;
  readonly #port: WorkerPort;
  readonly #outcomes: OutcomeBatcher;
  readonly #handling: TaskHandling;
  readonly #owner: TaskRunOwner;
  /** This field and the next two are set only when they are needed: most handlers do not use them. */
  #aborting: AbortController | null = null;
  #output: TaskReporter | null = null;
  #cancelTimeout: (() => void) | null = null;
  /** The error of the attempt's own time limit. A handler can also throw a timeout of another operation. */
  #timeout: RedisSseError | null = null;
  /** The outcome is known, but it may not be stored yet. */
  #decided = false;
  #over = false;
  /** Start time, by the monotonic clock. */
  #startedAt = 0;

  constructor(
    port: WorkerPort,
    outcomes: OutcomeBatcher,
    lease: TaskLease,
    handling: TaskHandling,
    owner: TaskRunOwner,
  ) {
    this.#port = port;
    this.#outcomes = outcomes;
    this.lease = lease;
    this.#handling = handling;
    this.#owner = owner;
  }

  /** Whether the outcome is known. */
  get isDecided(): boolean {
    return this.#decided;
  }

  /** Starts the handler. Never throws. */
  start(): void {
    const timeoutMs = this.lease.settings.timeoutMs ?? this.#port.settings.timeoutMs;
    if (timeoutMs !== undefined) {
      this.#cancelTimeout = this.#port.clock.schedule(() => this.#timeOut(timeoutMs), timeoutMs);
    }
    this.#port.count("started");
    this.#startedAt = monotonicNow(this.#port.clock);
    if (started.hasSubscribers) started.publish(this.#told);
    void this.#run();
  }

  /** Gives the task back to the queue. The attempt does not count. */
  giveBack(): Promise<void> {
    this.#abort(new RedisSseError("CLOSED", "the worker is stopping"));
    if (this.#decided) return Promise.resolve();
    const { progress, message } = this.lease.task;
    return this.#settle({ verdict: "back", progress, message, content: "", delayMs: 0, ttlMs: 0 });
  }

  /** Ends the attempt because its task was cancelled. It stores no outcome. */
  cancel(): void {
    this.#abort(new RedisSseError("CANCELLED", "this task was cancelled"));
    this.#end();
  }

  /** Ends the attempt because its lease has expired. */
  lose(): void {
    // If the outcome is known, Redis decides whether it still counts.
    if (this.#isSettled) return;
    log("lease expired: %s", this.lease.task.id);
    this.#port.count("lost");
    this.#abort(new RedisSseError("LEASE_LOST", "the lease of this task expired"));
    this.#end();
  }

  async #run(): Promise<void> {
    const outcome = await this.#attempt();
    if (outcome !== null) await this.#settle(outcome);
  }

  /** Runs the handler. Resolves to `null` if its outcome no longer counts. */
  async #attempt(): Promise<TaskOutcome | null> {
    try {
      if (this.lease.isBroken) throw new TaskFailure("the stored data of this task cannot be read");
      const result = await this.#handling.handler(this.#context());
      return this.#isSettled ? null : this.#ended(result ?? null);
    } catch (error) {
      return this.#isSettled ? null : this.#failure(error);
    }
  }

  get #isSettled(): boolean {
    return this.#decided || this.#over;
  }

  /**
   * If the result cannot be stored, the task fails without a further attempt, because it would return the same result
   * again.
   */
  #ended(result: unknown): TaskOutcome {
    const { settings, maxBytes } = this.#port;
    const ttlMs = this.lease.settings.resultTtlMs ?? settings.resultTtlMs;
    try {
      const content = boundedJson(result, "a result", maxBytes);
      return { verdict: "succeeded", progress: 100, message: "done", content, delayMs: 0, ttlMs };
    } catch (error) {
      return { ...this.#failure(error), verdict: "failed", message: "the result could not be stored" };
    }
  }

  #failure(error: unknown): TaskOutcome {
    const { settings } = this.#port;
    const { task, attempts, settings: own } = this.lease;
    ignoreRejection(error);
    const isVerdict = isInstance(error, TaskFailure);
    if (!isVerdict) this.#callOnError(error);
    const goesBack = isInstance(error, UnknownKind) && settings.unknownKindMs > 0;
    const isLast = task.attempt >= attempts || (isVerdict && readProperty(error, "retry") !== true);
    const said = isVerdict ? readProperty(error, "message") : null;
    const shown = typeof said === "string" ? said : "failed";
    const what = this.#isTimeout(error) ? "timed out" : shown;
    return {
      verdict: goesBack ? "unknown" : isLast ? "failed" : "retry",
      progress: this.#output?.progress ?? task.progress,
      message: what.slice(0, MAX_MESSAGE),
      content: describeThrown(error),
      delayMs: goesBack
        ? settings.unknownKindMs
        : backoffDelay(own.backoff ?? settings.backoff, task.attempt, Math.random()),
      ttlMs: settings.deadLetterTtlMs,
    };
  }

  #isTimeout(error: unknown): boolean {
    return this.#timeout !== null && error === this.#timeout;
  }

  /** Ends the attempt. The handler may continue, but its outcome no longer counts. */
  #timeOut(timeoutMs: number): void {
    if (this.#isSettled) return;
    const fault = new RedisSseError("TIMEOUT", `this attempt took longer than ${timeoutMs} ms`);
    this.#timeout = fault;
    this.#abort(fault);
    void this.#settle(this.#failure(fault));
  }

  async #settle(outcome: TaskOutcome): Promise<void> {
    this.#decided = true;
    this.#owner.onDecided(this);
    if (this.#output !== null) await this.#output.flush();
    if (this.#over) return;
    const { verdict } = outcome;
    const isFailure = verdict === "failed" || verdict === "retry";
    const whole = isFailure ? await this.#withEarlierErrors(outcome) : outcome;
    if (this.#over) return;
    const taken = await this.#outcomes.settle(this.lease, whole, () => !this.#over);
    if (this.#over) return;
    if (taken === null) {
      log("outcome not stored: %s: %s", outcome.verdict, this.lease.task.id);
    } else {
      log(taken ? "%s: %s" : "outcome refused: %s: %s", outcome.verdict, this.lease.task.id);
      this.#port.count(taken ? COUNTED[outcome.verdict] : "refused");
    }
    this.#end(taken === null ? "unstored" : taken ? outcome.verdict : "lost");
  }

  /** Adds the errors of earlier attempts, if Redis returns them in time. Never rejects. */
  async #withEarlierErrors(outcome: TaskOutcome): Promise<TaskOutcome> {
    if (this.lease.task.attempt < 2) return outcome;
    try {
      const stored = await withDeadline(this.#port.readError(this.lease.task.id), {
        clock: this.#port.clock,
        timeoutMs: READ_ERROR_MS,
        what: "the earlier errors",
      });
      return { ...outcome, content: addError(outcome.content, stored) };
    } catch (error) {
      log("cannot read earlier errors: %s: %s", this.lease.task.id, nameOfThrown(error));
      return outcome;
    }
  }

  #context(): TaskContext {
    const { task } = this.lease;
    const signal = (): AbortSignal => this.#signal;
    const { maxBytes } = this.#port;
    return {
      task,
      attempt: task.attempt,
      get signal() {
        return signal();
      },
      progress: (progress, message) =>
        this.#tolerate(async () => {
          const fallback = this.#output?.progress ?? task.progress;
          const report = readHandlerProgress(progress, message, fallback, maxBytes, (what) =>
            this.#warnOfProgress(what),
          );
          if (!this.#decided) await this.#opened().report(report);
        }),
      write: (chunk) =>
        this.#tolerate(async () => {
          const data = readChunk(chunk, maxBytes);
          await this.#write({ name: "chunk", data, isText: typeof chunk === "string" });
        }),
      log: (line) =>
        this.#tolerate(() => this.#write({ name: "log", data: readLine(line, maxBytes), isText: false })),
    };
  }

  /**
   * Handles the rejection of a report. If a handler does not await the report, an unhandled rejection would end the
   * process.
   */
  #tolerate(send: () => Promise<void>): Promise<void> {
    const sent = (async () => send())();
    sent.catch((error: unknown) => {
      ignoreRejection(error);
      log("report not stored: %s: %s", this.lease.task.id, nameOfThrown(error));
    });
    return sent;
  }

  /**
   * Rejects after the outcome is known. A loop that a handler did not stop could otherwise delay its outcome forever.
   */
  async #write(event: OutputEvent): Promise<void> {
    if (this.#decided) throw OVER;
    await this.#opened().write(event);
  }

  /** `what` describes the value that was out of range. */
  #warnOfProgress(what: string): void {
    const { log: warnings, queue } = this.#port;
    warnings.warnOnce(
      `progress ${queue}`,
      "a handler of queue %s, for tasks of kind %s, called progress() with %s. The value is limited: progress to 0 to 100, " +
        "a message to %s characters. NaN keeps the progress before it. This queue prints the warning once.",
      queue,
      this.lease.task.kind,
      what,
      MAX_MESSAGE,
    );
  }

  get #signal(): AbortSignal {
    this.#aborting ??= new AbortController();
    if (this.#over && !this.#aborting.signal.aborted) this.#aborting.abort(OVER);
    return this.#aborting.signal;
  }

  #opened(): TaskReporter {
    this.#output ??= new TaskReporter(this.#port, this.lease, this.#signal, (isCancelled) =>
      isCancelled ? this.cancel() : this.lose(),
    );
    return this.#output;
  }

  #abort(reason: RedisSseError): void {
    if (this.#over) return;
    void this.#signal;
    this.#aborting!.abort(reason);
  }

  /** Calls `onError`. If the signal is aborted, handlers are expected to throw, so only a timeout is reported. */
  #callOnError(thrown: unknown): void {
    log("handler failed: %s: %s", this.lease.task.id, nameOfThrown(thrown));
    if (this.#aborting?.signal.aborted && !this.#isTimeout(thrown)) return;
    // `onError` may be async. Its rejection must not end the process.
    const called = (async () => this.#handling.onError(thrown, this.lease.task))();
    called.catch((fault: unknown) => {
      ignoreRejection(fault);
      log("onError threw: %s", nameOfThrown(fault));
    });
  }

  get #told(): DiagnosticEvents["redis-sse:task:start"] {
    const { id, kind, attempt } = this.lease.task;
    return { queue: this.#port.queue, id, kind, attempt };
  }

  #end(outcome: DiagnosticEvents["redis-sse:task:end"]["outcome"] = "lost"): void {
    if (this.#over) return;
    this.#over = true;
    if (ended.hasSubscribers) {
      const durationMs = monotonicNow(this.#port.clock) - this.#startedAt;
      ended.publish({ ...this.#told, outcome, durationMs });
    }
    this.#cancelTimeout?.();
    this.#aborting?.abort(OVER);
    this.#owner.onDone(this);
  }
}

const OVER = new RedisSseError("ABORTED", "this attempt is over");

const COUNTED = {
  succeeded: "succeeded",
  failed: "failed",
  retry: "retried",
  back: "requeued",
  unknown: "unknownKind",
} as const;
