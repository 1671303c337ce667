import { delay, withDeadline } from "../deadline.js";
import { ConfigError, sanitize } from "../errors.js";
import { createLog } from "../log.js";
import { assertKnown, assertObject, readWholeNumber } from "../validate.js";
import type { Task } from "./task.js";
import { TaskRun, type TaskContext, type TaskHandling } from "./task-run.js";
import type { WorkerPort } from "./worker-port.js";

/** Does one task. What it returns is the task's result; what it throws fails the task. */
export type TaskHandler = (context: TaskContext) => unknown;

export interface WorkerOptions {
  /** Tasks at once. Default 1. */
  readonly concurrency?: number;
  /** Milliseconds after which a worker that does not report back is taken for dead. Default 30,000. */
  readonly leaseMs?: number;
  /** The longest wait between two looks at the queue, in milliseconds, at most 5,000. Default 5,000. */
  readonly pollMs?: number;
  /** Stops the worker, as `stop()` does. */
  readonly signal?: AbortSignal;
  /**
   * Called with what a handler threw, unless that is a `TaskFailure`: whoever watches the task does not learn
   * it, so the app has to. Default: `console.error`.
   */
  readonly onError?: (error: unknown, task: Task) => void;
}

export interface StopOptions {
  /** How long tasks that are under way may go on; then they go back to the queue. Default 2,000 ms. */
  readonly graceMs?: number;
}

const log = createLog("worker");

const MAX_POLL_MS = 5_000;
const KNOWN: ReadonlySet<string> = new Set<keyof WorkerOptions>([
  "concurrency",
  "leaseMs",
  "pollMs",
  "signal",
  "onError",
]);
/** How long a worker that stops waits for Redis to take its tasks back. */
const GIVE_BACK_MS = 1_000;
/** After a fault of Redis, before the next try. */
const FAULT_PAUSE_MS = 500;

/**
 * Takes tasks from a queue and runs them. It learns of new ones over pub/sub, and looks by itself every
 * `pollMs` for what it was not told of: no connection blocks for it, and no lost message stops it.
 */
export class Worker {
  readonly #port: WorkerPort;
  readonly #handling: TaskHandling;
  readonly #concurrency: number;
  readonly #leaseMs: number;
  readonly #pollMs: number;
  readonly #runs = new Set<TaskRun>();
  readonly #stopping = new AbortController();
  readonly #loop: Promise<void>;
  readonly #onStopped: () => void;
  readonly #unlink: () => void;
  #stopped: Promise<void> | null = null;
  /** Something happened since the loop last looked: it does not wait. */
  #woken = false;
  #wake: () => void = () => {};

  /** Made by `QueueService.worker()`. Throws `ConfigError`. */
  constructor(port: WorkerPort, handler: TaskHandler, options: WorkerOptions, onStopped: () => void) {
    assertObject("options", options);
    assertKnown("options", options, KNOWN);
    const { concurrency = 1, leaseMs = 30_000, pollMs = MAX_POLL_MS, signal, onError = printError } = options;
    if (typeof handler !== "function")
      throw new ConfigError(`expected handler as a function, got ${typeof handler}`);
    readWholeNumber("concurrency", concurrency, 1, 1_000);
    readWholeNumber("leaseMs", leaseMs, 10, 24 * 3600 * 1000);
    readWholeNumber("pollMs", pollMs, 1, MAX_POLL_MS);
    this.#port = port;
    this.#handling = { handler, leaseMs, onError };
    this.#concurrency = concurrency;
    this.#leaseMs = leaseMs;
    this.#pollMs = pollMs;
    this.#onStopped = onStopped;
    const onAbort = (): void => void this.stop();
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#unlink = () => signal?.removeEventListener("abort", onAbort);
    this.#loop = this.#run();
    if (signal?.aborted) onAbort();
  }

  /** How many tasks are under way. */
  get running(): number {
    return this.#runs.size;
  }

  /**
   * Takes no more tasks, lets those under way end, gives the rest back. The first call's options count. Throws
   * `ConfigError`.
   */
  stop(options: StopOptions = {}): Promise<void> {
    if (options.graceMs !== undefined) readWholeNumber("graceMs", options.graceMs, 0);
    return (this.#stopped ??= this.#stop(options));
  }

  async #stop({ graceMs = 2_000 }: StopOptions): Promise<void> {
    this.#unlink();
    this.#stopping.abort();
    this.#notify();
    const graceOver = new AbortController();
    await Promise.race([
      Promise.all([this.#loop, ...Array.from(this.#runs, (run) => run.done)]).finally(() =>
        graceOver.abort(),
      ),
      delay(this.#port.clock, graceMs, graceOver.signal),
    ]);
    // From the last to the first, so that they keep their order at the head of the queue.
    const given = [...this.#runs].toReversed().map((run) => run.giveBack());
    const back = Promise.all([this.#loop, ...given]);
    // Without an answer from Redis the leases run out by themselves.
    await withDeadline(back, {
      clock: this.#port.clock,
      timeoutMs: GIVE_BACK_MS,
      what: "the tasks' return",
    }).catch((error: unknown) => log("stopped without an answer: %s", sanitize(error).message));
    log("stopped");
    this.#onStopped();
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const unlisten = this.#port.onWake(() => this.#notify());
    try {
      while (!this.#stopping.signal.aborted) {
        this.#woken = false;
        const pauseMs = this.#runs.size < this.#concurrency ? await this.#take() : this.#pollMs;
        if (pauseMs > 0) await this.#pause(pauseMs);
      }
    } finally {
      unlisten();
    }
  }

  /** Takes one task, if there is one; answers how long to pause before the next look. */
  async #take(): Promise<number> {
    try {
      const lease = await this.#port.claim(this.#leaseMs);
      if (lease === null) return this.#pollMs;
      if (this.#stopping.signal.aborted) {
        await this.#port.giveBack(lease);
        return 0;
      }
      const run: TaskRun = new TaskRun(this.#port, lease, this.#handling, () => {
        this.#runs.delete(run);
        this.#notify();
      });
      this.#runs.add(run);
      run.start();
      return 0;
    } catch (error) {
      log("cannot take a task: %s", sanitize(error).message);
      return Math.min(FAULT_PAUSE_MS, this.#pollMs);
    }
  }

  async #pause(pauseMs: number): Promise<void> {
    if (this.#woken || this.#stopping.signal.aborted) return;
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    await delay(this.#port.clock, pauseMs, woken.signal);
    this.#wake = () => {};
  }

  #notify(): void {
    this.#woken = true;
    this.#wake();
  }
}

function printError(error: unknown, { id, kind }: Task): void {
  console.error(`redis-sse: task ${id} (${kind}) failed:`, error);
}
