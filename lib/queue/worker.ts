import { randomBytes } from "node:crypto";

import { delay, withDeadline } from "../deadline.js";
import { ConfigError, sanitize } from "../errors.js";
import { createLog } from "../log.js";
import { assertKnown, assertObject, describe, readWholeNumber } from "../validate.js";
import { parseSettings, type TaskSettings } from "./enqueue-options.js";
import type { ClaimedTask, ClaimReply, DueSchedule } from "./scripts/claim.js";
import { Settler } from "./settler.js";
import type { TaskContext } from "./task-context.js";
import type { AnyTasks, KindOf, TaskMap } from "./task-map.js";
import { TaskRun, type TaskHandling, type TaskRunOwner } from "./task-run.js";
import { parseJson, TaskFailure, toIso, type Task } from "./task.js";
import type { TaskLease, WorkerPort } from "./worker-port.js";

/**
 * Does one task. What it returns is the task's result; when it throws, the task is tried again after a while, as often as
 * `attempts` admits, and then fails. Whatever it does may be done twice, where a worker is lost.
 */
export type TaskHandler<Tasks extends TaskMap = AnyTasks> = (context: TaskContext<Tasks>) => unknown;

/** A handler for each kind of task; a task of another kind fails. */
export type TaskHandlers<Tasks extends TaskMap> = {
  readonly [Kind in KindOf<Tasks>]: TaskHandler<Pick<Tasks, Kind>>;
};

export interface WorkerOptions {
  /** Handlers at once. Default 1. */
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

const STOP_OPTIONS: ReadonlySet<string> = new Set<keyof StopOptions>(["graceMs"]);

const log = createLog("worker");

const MAX_POLL_MS = 5_000;
const KNOWN: ReadonlySet<string> = new Set<keyof WorkerOptions>([
  "concurrency",
  "leaseMs",
  "pollMs",
  "signal",
  "onError",
]);
/** Tasks taken at once: two halves of a worker's tasks are under way in turn, one here and one in Redis. */
const MAX_CLAIM = 100;
/** Leases renewed in one script. */
const MAX_RENEWALS = 200;
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
  readonly #name = randomBytes(6).toString("base64url");
  readonly #settler: Settler;
  /** By the task's id. */
  readonly #runs = new Map<string, TaskRun>();
  readonly #owner: TaskRunOwner = {
    onDecided: () => this.#onDecided(),
    onDone: (run) => this.#onDone(run),
  };
  /** Handlers under way. */
  #active = 0;
  /** Outcomes that are being stored. */
  #storing = 0;
  readonly #stopping = new AbortController();
  readonly #loop: Promise<void>;
  readonly #onStopped: () => void;
  readonly #unlink: () => void;
  #stopped: Promise<void> | null = null;
  #cancelRenewal: (() => void) | null = null;
  #renewing = false;
  #ended = false;
  #claims = 0;
  /** Something happened since the loop last looked: it does not wait. */
  #woken = false;
  /** The queue had less than was asked for: an end of a task alone is no reason to look again. */
  #drained = false;
  #wake: () => void = () => {};
  #onIdle: () => void = () => {};

  /** Made by `QueueService.worker()`. Throws `ConfigError`. */
  constructor(
    port: WorkerPort,
    handler: TaskHandler | TaskHandlers<AnyTasks>,
    options: WorkerOptions,
    onStopped: () => void,
  ) {
    assertObject("options", options);
    assertKnown("options", options, KNOWN);
    const { concurrency = 1, leaseMs = 30_000, pollMs = MAX_POLL_MS, signal, onError = printError } = options;
    readWholeNumber("concurrency", concurrency, 1, 1_000);
    readWholeNumber("leaseMs", leaseMs, 10, 24 * 3600 * 1000);
    readWholeNumber("pollMs", pollMs, 1, MAX_POLL_MS);
    if (signal !== undefined && !(signal instanceof AbortSignal)) {
      throw new ConfigError(`expected signal as an AbortSignal, got ${describe(signal)}`);
    }
    if (typeof onError !== "function") {
      throw new ConfigError(`expected onError as a function, got ${typeof onError}`);
    }
    this.#port = port;
    this.#handling = { handler: readHandler(handler), onError };
    this.#concurrency = concurrency;
    this.#leaseMs = leaseMs;
    this.#pollMs = pollMs;
    this.#settler = new Settler(port);
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
    assertObject("stop()", options);
    assertKnown("stop()", options, STOP_OPTIONS);
    if (options.graceMs !== undefined) readWholeNumber("graceMs", options.graceMs, 0);
    return (this.#stopped ??= this.#stop(options));
  }

  async #stop({ graceMs = 2_000 }: StopOptions): Promise<void> {
    this.#unlink();
    this.#stopping.abort();
    this.#notify();
    const graceOver = new AbortController();
    await Promise.race([
      Promise.all([this.#loop, this.#idle()]).finally(() => graceOver.abort()),
      delay(this.#port.clock, graceMs, graceOver.signal),
    ]);
    // Their order is that of their places in line.
    const back = Promise.all([this.#loop, ...Array.from(this.#runs.values(), (run) => run.giveBack())]);
    // Without an answer from Redis the leases run out by themselves.
    await withDeadline(back, {
      clock: this.#port.clock,
      timeoutMs: GIVE_BACK_MS,
      what: "the tasks' return",
    }).catch((error: unknown) => log("stopped without an answer: %s", sanitize(error).message));
    this.#ended = true;
    this.#settler.close();
    this.#cancelRenewal?.();
    this.#runs.clear();
    log("stopped");
    this.#onStopped();
  }

  #idle(): Promise<void> {
    if (this.#runs.size === 0) return Promise.resolve();
    return new Promise((resolve) => (this.#onIdle = resolve));
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const unlisten = this.#port.onWake((cancelled, missed) => {
      if (missed) this.#renewNow();
      if (cancelled === null) this.#notify();
      else this.#runs.get(cancelled)?.cancel();
    });
    try {
      while (!this.#stopping.signal.aborted) {
        this.#woken = false;
        const free = this.#free;
        const pauseMs = free > 0 ? await this.#takeAll(free) : this.#pollMs;
        if (pauseMs > 0) await this.#pause(pauseMs);
      }
    } finally {
      unlisten();
    }
  }

  /**
   * Takes tasks as long as there are any, and there is room; answers how long to pause before the next look. The next are
   * asked for before those that have come are begun, so that Redis and the handlers work at the same time.
   */
  async #takeAll(free: number): Promise<number> {
    let asked: Promise<ClaimReply | null> | null = this.#claim(free);
    for (;;) {
      const claimed: ClaimReply | null = await asked;
      if (claimed === null) return Math.min(FAULT_PAUSE_MS, this.#pollMs);
      const { waitMs, schedules } = claimed;
      const leases: readonly TaskLease[] = claimed.tasks.map((task) => this.#leaseOf(task));
      if (this.#stopping.signal.aborted) {
        await this.#giveBack(leases);
        return 0;
      }
      const left: number = this.#free - leases.length;
      asked = this.#drained || left <= 0 ? null : this.#claim(left);
      for (const lease of leases) this.#begin(lease);
      const isFired = await this.#fire(schedules);
      if (asked !== null) continue;
      if (!isFired) return Math.min(FAULT_PAUSE_MS, this.#pollMs);
      return this.#drained && schedules.length === 0 ? Math.min(Math.max(waitMs, 1), this.#pollMs) : 0;
    }
  }

  /**
   * How many tasks may be begun. One whose handler has ended makes room for the next while its outcome is stored; where that takes
   * long, at most twice `concurrency` wait for it, and no handler runs.
   */
  get #free(): number {
    return this.#concurrency - this.#active - Math.max(0, this.#storing - this.#concurrency);
  }

  /** Never rejects; answers `null` where Redis has not taken the call. */
  async #claim(free: number): Promise<ClaimReply | null> {
    const want = Math.min(free, Math.ceil(this.#concurrency / 2), MAX_CLAIM);
    try {
      // The same again until it is answered: what it has taken then is answered, and need not wait for its lease to run out.
      const call = `${this.#name}${this.#claims}`;
      const claimed = await this.#port.claim(want, this.#leaseMs, this.#name, call);
      this.#claims++;
      this.#drained = claimed.tasks.length < want;
      return claimed;
    } catch (error) {
      log("cannot take a task: %s", sanitize(error).message);
      return null;
    }
  }

  /** Never rejects. False: Redis does not take it now, and what was due is due still. */
  async #fire(schedules: readonly DueSchedule[]): Promise<boolean> {
    try {
      for (const schedule of schedules) await this.#port.fire(schedule);
      return true;
    } catch (error) {
      log("cannot put a scheduled task in line: %s", sanitize(error).message);
      return false;
    }
  }

  #begin(lease: TaskLease): void {
    const run = new TaskRun(this.#port, this.#settler, lease, this.#handling, this.#owner);
    // One that this very worker has lost meanwhile hears of it from nobody else.
    this.#runs.get(lease.task.id)?.lose();
    this.#runs.set(lease.task.id, run);
    this.#active++;
    run.start();
    this.#scheduleRenewal();
  }

  #onDecided(): void {
    this.#active--;
    this.#storing++;
    if (!this.#drained) this.#notify();
  }

  #onDone(run: TaskRun): void {
    if (run.isDecided) this.#storing--;
    else this.#active--;
    const { id } = run.lease.task;
    // One that was lost may have been taken again, by this very worker.
    if (this.#runs.get(id) === run) this.#runs.delete(id);
    if (!this.#drained) this.#notify();
    if (this.#runs.size > 0) return;
    this.#cancelRenewal?.();
    this.#cancelRenewal = null;
    this.#onIdle();
  }

  async #giveBack(leases: readonly TaskLease[]): Promise<void> {
    if (leases.length === 0) return;
    await this.#port.settle(
      leases.map((lease) => {
        const { progress, message } = lease.task;
        return { lease, outcome: { verdict: "back", progress, message, content: "", delayMs: 0, ttlMs: 0 } };
      }),
    );
  }

  #leaseOf(claimed: ClaimedTask): TaskLease {
    const { id, kind, token, attempt, attempts, createdAt, startedAt, priority, progress } = claimed;
    const content = readContent(claimed);
    const task: Task = {
      id,
      queue: this.#port.queue,
      kind,
      payload: content?.payload ?? null,
      status: "running",
      priority,
      progress,
      message: "",
      data: null,
      attempt,
      createdAt: toIso(createdAt)!,
      runAt: null,
      startedAt: toIso(startedAt),
      finishedAt: null,
      result: null,
    };
    return {
      task,
      token,
      attempts: attempts ?? this.#port.settings.attempts,
      settings: content?.settings ?? {},
      isBroken: content === null,
    };
  }

  #scheduleRenewal(): void {
    if (this.#renewing || this.#ended || this.#runs.size === 0) return;
    this.#cancelRenewal ??= this.#port.clock.schedule(() => void this.#renew(), this.#leaseMs / 3);
  }

  /** A task that was cancelled unheard has no lease any more. */
  #renewNow(): void {
    if (this.#cancelRenewal === null || this.#renewing) return;
    this.#cancelRenewal();
    void this.#renew();
  }

  /** All leases of this worker by one timer. Never rejects. */
  async #renew(): Promise<void> {
    this.#cancelRenewal = null;
    this.#renewing = true;
    const runs = [...this.#runs.values()];
    for (let index = 0; index < runs.length; index += MAX_RENEWALS) {
      const some = runs.slice(index, index + MAX_RENEWALS);
      const leases = some.map(({ lease }) => lease);
      try {
        const replies = await this.#port.renew(leases, this.#leaseMs);
        some.forEach((run, at) => {
          if (replies[at] === "cancelled") run.cancel();
          else if (replies[at] === "lost") run.lose();
        });
      } catch (error) {
        log("cannot renew leases: %s", sanitize(error).message);
      }
    }
    this.#renewing = false;
    this.#scheduleRenewal();
  }

  async #pause(pauseMs: number): Promise<void> {
    if (this.#woken || this.#stopping.signal.aborted) return;
    // Once for each batch of tasks: an abort would make an error each time.
    await new Promise<void>((resolve) => {
      const cancel = this.#port.clock.schedule(resolve, pauseMs);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
    this.#wake = () => {};
  }

  #notify(): void {
    this.#woken = true;
    this.#wake();
  }
}

/** `null` where it is no JSON, as another program may have written it: those taken with it are none the worse. */
function readContent({
  payload,
  options,
}: ClaimedTask): { readonly payload: unknown; readonly settings: TaskSettings } | null {
  try {
    return { payload: parseJson(payload), settings: parseSettings(options) };
  } catch {
    return null;
  }
}

function readHandler(given: TaskHandler | TaskHandlers<AnyTasks>): TaskHandler {
  if (typeof given === "function") return given;
  if (typeof given !== "object" || given === null) {
    throw new ConfigError(`expected a handler, or an object with one for each kind, got ${typeof given}`);
  }
  const handlers = new Map(Object.entries(given));
  if (handlers.size === 0) throw new ConfigError("expected a handler for at least one kind of task");
  for (const [, handler] of handlers) {
    if (typeof handler !== "function") {
      throw new ConfigError(`expected each kind's handler as a function, got ${typeof handler}`);
    }
  }
  return (context) => {
    const handler = handlers.get(context.task.kind);
    if (handler === undefined) throw new TaskFailure("no worker of this queue knows this kind of task");
    return handler(context);
  };
}

function printError(error: unknown, { id, kind }: Task): void {
  console.error(`redis-sse: task ${id} (${kind}) failed:`, error);
}
