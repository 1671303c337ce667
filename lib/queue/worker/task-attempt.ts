import { monotonicNow } from "../../clock.js";
import { withDeadline } from "../../deadline.js";
import { diagnosticChannel, type DiagnosticEvents } from "../../diagnostics.js";
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

/** How the tasks of one worker are run. */
export interface TaskHandling {
  readonly handler: (context: TaskContext) => unknown;
  readonly onError: (error: unknown, task: Task) => void;
}

/** Who hears of an attempt; each once. */
export interface TaskRunOwner {
  /** The handler has ended, or does not count any more; what became of it is about to be stored. */
  onDecided(run: TaskAttempt): void;
  /** All is over. */
  onDone(run: TaskAttempt): void;
}

const log = createLog("worker");
const started = diagnosticChannel("redis-sse:task:start");
const ended = diagnosticChannel("redis-sse:task:end");

/** How long a failed attempt waits for the errors of those before it. */
const READ_ERROR_MS = 1_000;

/** One attempt at a task: its handler, what it says, and how it ends. */
export class TaskAttempt {
  readonly lease: TaskLease;
  readonly #port: WorkerPort;
  readonly #outcomes: OutcomeBatcher;
  readonly #handling: TaskHandling;
  readonly #owner: TaskRunOwner;
  /** Most handlers ask for none of these. */
  #aborting: AbortController | null = null;
  #output: TaskReporter | null = null;
  #cancelTimeout: (() => void) | null = null;
  /** Its time is over. What a handler throws may be a timeout of something else. */
  #timeout: RedisSseError | null = null;
  /** The outcome is known, though it may not be stored yet. */
  #decided = false;
  #over = false;
  /** By the monotonic clock. */
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

  /** Never rejects, and calls back when the attempt is over. */
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

  /** Gives the task back, as if it had not been begun. */
  giveBack(): Promise<void> {
    this.#abort(new RedisSseError("CLOSED", "the worker stops"));
    if (this.#decided) return Promise.resolve();
    const { progress, message } = this.lease.task;
    return this.#settle({ verdict: "back", progress, message, content: "", delayMs: 0, ttlMs: 0 });
  }

  /** The task was cancelled: nothing is left to be stored. */
  cancel(): void {
    this.#abort(new RedisSseError("CANCELLED", "this task was cancelled"));
    this.#end();
  }

  /** The task is another worker's by now. */
  lose(): void {
    // With its outcome decided it is for the queue to say whether that is taken.
    if (this.#isSettled) return;
    log("lost to another worker: %s", this.lease.task.id);
    this.#port.count("lost");
    this.#abort(new RedisSseError("LEASE_LOST", "the lease of this task ran out"));
    this.#end();
  }

  async #run(): Promise<void> {
    const outcome = await this.#attempt();
    if (outcome !== null) await this.#settle(outcome);
  }

  /** `null` where what the handler does no longer counts. */
  async #attempt(): Promise<TaskOutcome | null> {
    try {
      if (this.lease.isBroken) throw new TaskFailure("what is stored of this task cannot be read");
      const result = await this.#handling.handler(this.#context());
      return this.#isSettled ? null : this.#ended(result ?? null);
    } catch (error) {
      return this.#isSettled ? null : this.#failure(error);
    }
  }

  get #isSettled(): boolean {
    return this.#decided || this.#over;
  }

  /** A result that cannot be stored is a failure for good: the work is done, and would come to the same again. */
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
    if (!isVerdict) this.#tell(error);
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

  /** The handler may go on; what it does no longer counts. */
  #isTimeout(error: unknown): boolean {
    return this.#timeout !== null && error === this.#timeout;
  }

  #timeOut(timeoutMs: number): void {
    if (this.#isSettled) return;
    const fault = new RedisSseError("TIMEOUT", `expected the task to be done within ${timeoutMs} ms`);
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
      log("given up: %s: %s", outcome.verdict, this.lease.task.id);
    } else {
      log(taken ? "%s: %s" : "refused, another worker has it: %s: %s", outcome.verdict, this.lease.task.id);
      this.#port.count(taken ? COUNTED[outcome.verdict] : "refused");
    }
    this.#end(taken === null ? "unstored" : taken ? outcome.verdict : "lost");
  }

  /** Never rejects. What Redis does not tell now is not worth waiting for. */
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
      log("earlier errors are not known: %s: %s", this.lease.task.id, nameOfThrown(error));
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

  /** What a handler does not wait for must not end its process, and all other tasks with it. */
  #tolerate(say: () => Promise<void>): Promise<void> {
    const said = (async () => say())();
    said.catch((error: unknown) => {
      ignoreRejection(error);
      log("not told: %s: %s", this.lease.task.id, nameOfThrown(error));
    });
    return said;
  }

  /** A loop that a handler has left behind would keep its outcome waiting for ever. */
  async #write(event: OutputEvent): Promise<void> {
    if (this.#decided) throw OVER;
    await this.#opened().write(event);
  }

  /** `what` is the value that was out of range. */
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

  /** One that was told to end has every reason to throw. */
  #tell(thrown: unknown): void {
    log("handler failed: %s: %s", this.lease.task.id, nameOfThrown(thrown));
    if (this.#aborting?.signal.aborted && !this.#isTimeout(thrown)) return;
    // It may well be async, and must not end the process.
    const told = (async () => this.#handling.onError(thrown, this.lease.task))();
    told.catch((fault: unknown) => {
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

const OVER = new RedisSseError("ABORTED", "this attempt at the task is over");

const COUNTED = {
  succeeded: "succeeded",
  failed: "failed",
  retry: "retried",
  back: "requeued",
  unknown: "unknownKind",
} as const;
