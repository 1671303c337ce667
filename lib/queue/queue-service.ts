import { randomUUID } from "node:crypto";

import type { Clock } from "../clock.js";
import { ConfigError, RedisSseError } from "../errors.js";
import type { ServiceLog } from "../logger.js";
import { createLog } from "../log.js";
import type { RedisClient } from "../redis/client.js";
import { assertObject, assertOptions } from "../validate.js";
import { DeadLetters } from "./dead-letters.js";
import { readEnqueueOptions, withDefaults, type EnqueueOptions } from "./enqueue-options.js";
import { EnqueueBatcher, type NewTask } from "./enqueue-batcher.js";
import type { QueueSettings } from "./queue-options.js";
import { createWorkerPort, sendReport } from "./queue-port.js";
import { QueueCounter, toCounts, type QueueCounts, type QueueStatistics } from "./queue-statistics.js";
import { QueueStore } from "./queue-store.js";
import {
  readMissed,
  readTimes,
  Schedules,
  type MissedTimes,
  type Schedule,
  type ScheduleTimes,
} from "./schedules.js";
import { cancelTask } from "./scripts/cancel.js";
import type { EnqueueAnswer } from "./scripts/enqueue.js";
import { countTasks, readTask } from "./scripts/read.js";
import { cleanTasks, obliterateQueue, removeTask } from "./scripts/remove.js";
import { pauseQueue } from "./scripts/schedules.js";
import { readProgress, type ReportedProgress } from "./worker/task-context.js";
import {
  listPage,
  listUnreadable,
  readCleanOptions,
  type CleanOptions,
  type DeadLetter,
  type ListOptions,
  type TaskPage,
  type UnreadableTask,
} from "./task-list.js";
import { TaskMaker, type TaskEntry } from "./task-validator.js";
import type { AnyTasks, KindOf, TaskMap, TaskOf } from "./task-map.js";
import {
  assertListedId,
  assertTaskId,
  MAX_MESSAGE,
  parseTask,
  progressChannel,
  toIso,
  type ProgressReport,
  type Task,
  type TaskProgress,
  type TaskStatus,
} from "./task.js";
import type { WorkerPort } from "./worker/worker-port.js";
import type { TaskHandler, TaskHandlers } from "./worker/task-handlers.js";
import type { WorkerOptions } from "./worker/worker-options.js";
import { Worker } from "./worker/worker.js";

/** The parts of the service that a queue uses. */
export interface QueueDependencies {
  readonly commands: () => RedisClient;
  /**
   * Subscribes to a channel. Returns a function that unsubscribes.
   *
   * `onMessage` gets each message of the channel. It gets `null` if messages may have been lost.
   */
  readonly subscribe: (channel: string, onMessage: (text: string | null) => void) => () => void;
  /** Publishes on the channel of a task that does not exist in any queue. */
  readonly publish: (channel: string, data: string) => Promise<void>;
  readonly newEpoch: () => string;
  readonly keyPrefix: string;
  readonly clock: Clock;
  readonly log: ServiceLog;
  /** Maximum size of a payload, a result or an event as JSON, in bytes. */
  readonly maxBytes: number;
  /** Maximum number of events that are kept of a task. `null` if none are kept. */
  readonly keepEvents: number | null;
}

/** Options of a schedule: the options of its tasks, and `missed`. */
export interface ScheduleOptions extends Omit<EnqueueOptions, "id" | "delayMs" | "runAt" | "deduplicate"> {
  /**
   * How many tasks are enqueued for missed due times.
   *
   * @defaultValue "once"
   */
  readonly missed?: MissedTimes;
}

const log = createLog("queue");

/**
 * A queue of tasks that workers run at least once.
 *
 * Taking a task and recording its lease is one step in Redis. If a worker crashes, its leases expire. Then another
 * worker starts its tasks again. Redis accepts reports only from the newest attempt of a task.
 *
 * `Tasks` maps each kind to the payload that its handler gets. `Inputs` maps each kind to the payload that `enqueue()`
 * accepts. A schema can convert the input to the payload.
 */
export class QueueService<Tasks extends TaskMap = AnyTasks, Inputs extends TaskMap = Tasks> {
  /** The name of the queue. */
  readonly name: string;
  /** The dead letters: failed tasks that get no further attempt. */
  readonly deadLetters: DeadLetters;
  readonly #deps: QueueDependencies;
  readonly #settings: QueueSettings;
  readonly #store: QueueStore;
  readonly #maker: TaskMaker;
  readonly #enqueuer: EnqueueBatcher;
  readonly #schedules: Schedules;
  readonly #port: WorkerPort;
  readonly #counter = new QueueCounter();
  readonly #workers = new Set<Worker>();
  #closed = false;

  /** Use `RedisSse.queue()` instead. Throws `ConfigError`. @hidden */
  constructor(name: string, settings: QueueSettings, deps: QueueDependencies) {
    if (typeof name !== "string" || !/^[\w.-]{1,64}$/.test(name)) {
      throw new ConfigError("Invalid queue name. Use 1 to 64 of the characters A-Z a-z 0-9 _ . -");
    }
    this.name = name;
    this.#deps = deps;
    this.#settings = settings;
    this.#store = new QueueStore({ ...deps, name, results: this.#settings.results });
    this.#maker = new TaskMaker(this.#settings, deps.maxBytes);
    this.#enqueuer = new EnqueueBatcher(this.#store);
    this.deadLetters = new DeadLetters(this.#store);
    this.#schedules = new Schedules(
      this.#store,
      deps.log,
      async (due, next, { kind, payload, options: given }) => {
        // The schema was applied when the schedule was set.
        const { extra } = readEnqueueOptions(given, this.#settings.resultTtlMs);
        // The id is random: if a `taskStream()` has no authorization, clients could watch tasks whose ids they guess.
        const id = randomUUID();
        const answer = await this.#enqueuer.fire(due, next, { id, kind, payload, extra });
        if (answer?.status === "ok") this.#counter.count("enqueued");
        return answer !== null;
      },
    );
    this.#port = createWorkerPort({
      ...deps,
      name,
      store: this.#store,
      settings: this.#settings,
      schedules: this.#schedules,
      counter: this.#counter,
    });
  }

  /**
   * Enqueues a task. Resolves to the task, or, with `deduplicate`, to the existing task of that key.
   *
   * Rejects with:
   *
   * - `TASK_EXISTS` if another task has the id
   * - `INVALID_TASK` for an invalid kind, id, payload or deduplication key
   * - `UNSERIALIZABLE` or `TASK_TOO_LARGE` for the payload
   * - `ConfigError` for any other invalid option
   * - any error that the schema throws
   * - `CLOSED` after the service was closed
   * - a Redis error. Then Redis may have stored the task, if only its reply was lost.
   */
  async enqueue<Kind extends KindOf<Tasks> & KindOf<Inputs>>(
    kind: Kind,
    payload: Inputs[Kind],
    options: EnqueueOptions = {},
  ): Promise<Task<Tasks[Kind]>> {
    return (await this.#add(kind, payload, options)) as Task<Tasks[Kind]>;
  }

  /**
   * Enqueues up to 1,000 tasks in their order, all or none.
   *
   * Rejects like `enqueue()`. If an entry is invalid, the error message starts with its index.
   */
  async enqueueMany(
    entries: readonly {
      [Kind in KindOf<Inputs>]: TaskEntry<Inputs[Kind]> & { kind: Kind };
    }[KindOf<Inputs>][],
  ): Promise<readonly TaskOf<Tasks>[]> {
    this.#assertOpen();
    const tasks = await this.#maker.makeMany(entries);
    if (tasks.length === 0) return [];
    const answers = await this.#enqueuer.addAll(tasks.map(({ task }) => task));
    if ("taken" in answers) throw takenId(answers.taken);
    const all = await Promise.all(
      tasks.map(({ task, payload }, index) =>
        this.#answer(task, payload, entries[index]!.options, answers[index]!),
      ),
    );
    return all as unknown as TaskOf<Tasks>[];
  }

  /**
   * Reads a task of this queue. Resolves to `null` if the queue has no task with this id. Rejects with `INVALID_TASK`
   * or a Redis error.
   */
  async get(id: string): Promise<TaskOf<Tasks> | null> {
    return (await this.#get(id)) as TaskOf<Tasks> | null;
  }

  /**
   * Cancels a queued, delayed or running task, in any process.
   *
   * The signal of a running handler aborts, and Redis refuses its further reports. Clients that watch the task get the
   * message, of at most 1,000 characters. Resolves to `true` if the task is cancelled, and to `false` if it has ended
   * in another way or does not exist. Rejects with `INVALID_TASK` or a Redis error.
   */
  async cancel(id: string, message = "cancelled"): Promise<boolean> {
    assertTaskId(id);
    if (typeof message !== "string" || message.length > MAX_MESSAGE) {
      throw new RedisSseError(
        "INVALID_TASK",
        `expected message as a string of at most ${MAX_MESSAGE} characters`,
      );
    }
    const reply = await this.#store.run(cancelTask, [id, message, this.#settings.resultTtlMs]);
    return reply === "cancelled";
  }

  /**
   * Publishes progress on `task_progress:{taskId}`, for code outside a `Worker`.
   *
   * Resolves to `false` if the task has ended or belongs to another queue. If no task has the id, the progress is
   * published too. Rejects with `INVALID_TASK` or a Redis error.
   */
  async publishProgress(taskId: string, report: ProgressReport): Promise<boolean> {
    assertTaskId(taskId);
    if (typeof report !== "object" || report === null) {
      throw new RedisSseError("INVALID_TASK", `expected { progress, message? }, got ${typeof report}`);
    }
    if (report.progress === undefined) {
      throw new RedisSseError("INVALID_TASK", "expected progress as a number from 0 to 100");
    }
    const read = readProgress(report.progress, report.message, 0, this.#deps.maxBytes);
    const reply = await sendReport(this.#store, taskId, "", { ...read, number: 0, output: [] });
    if (reply === "unknown") await this.#publishUnknown(taskId, read);
    return reply === "taken" || reply === "unknown";
  }

  /**
   * Lists the tasks in one state, page by page.
   *
   * Rejects with `INVALID_TASK` for an invalid cursor, `ConfigError` for another invalid option, or a Redis error.
   */
  async list(state: TaskStatus, options: ListOptions = {}): Promise<TaskPage<TaskOf<Tasks>>> {
    const { tasks, next } = await listPage(this.#store, state, options);
    return { tasks: tasks.map(withoutError) as unknown as TaskOf<Tasks>[], next };
  }

  /** Lists the ids of unreadable tasks that the queue set aside, the oldest first. Rejects like `list()`. */
  listUnreadable(options: ListOptions = {}): Promise<TaskPage<UnreadableTask>> {
    return listUnreadable(this.#store, options);
  }

  /**
   * Deletes a task that is not running, or an unreadable task. Resolves to whether it existed.
   *
   * Rejects with `TASK_RUNNING` if a worker runs the task: cancel it first. Also rejects with `INVALID_TASK` or a Redis
   * error.
   */
  async remove(id: string): Promise<boolean> {
    assertListedId(id);
    const reply = await this.#store.run(removeTask, [id]);
    if (reply !== "running") return reply === "removed";
    throw new RedisSseError("TASK_RUNNING", `Task "${id}" is running. Cancel it, then remove it.`);
  }

  /**
   * Deletes finished tasks, the oldest first. Resolves to their number. Rejects with `ConfigError` or a Redis error.
   */
  async clean(options: CleanOptions): Promise<number> {
    const { state, olderThanMs, limit } = readCleanOptions(options);
    let removed = 0;
    for (let from = 0; removed < limit;) {
      const page = await this.#store.run(cleanTasks, [state, olderThanMs, limit - removed, from]);
      removed += page.removed;
      from += page.seen - page.removed;
      if (page.seen < 200) break;
    }
    return removed;
  }

  /**
   * Deletes the queue with all its tasks, schedules and counters. Workers start no tasks during the call.
   *
   * If workers run tasks, it rejects with `TASK_RUNNING`, unless you pass `force`. With `force`, the signals of running
   * handlers abort. Also rejects with `ConfigError` or a Redis error.
   */
  async obliterate(options: { readonly force?: boolean } = {}): Promise<void> {
    assertOptions("obliterate()", options, new Set(["force"]));
    const force = options.force === true ? "1" : "";
    for (let first = "1"; ; first = "") {
      const reply = await this.#store.run(obliterateQueue, [force, first]);
      if (reply === "done") return;
      if (reply === "running") {
        throw new RedisSseError(
          "TASK_RUNNING",
          `Queue "${this.name}" has running tasks. Stop its workers, or pass force.`,
        );
      }
    }
  }

  /** Counts the tasks in each state, and reads the totals of all processes. Rejects with a Redis error. */
  async counts(): Promise<QueueCounts> {
    return toCounts(await this.#store.run(countTasks, []));
  }

  /** Pauses this queue in all processes: workers start no tasks. Running tasks continue. Rejects with a Redis error. */
  async pause(): Promise<void> {
    await this.#store.run(pauseQueue, ["1"]);
  }

  /** Ends a pause: workers start tasks again. Rejects with a Redis error. */
  async resume(): Promise<void> {
    await this.#store.run(pauseQueue, ["0"]);
  }

  /**
   * Sets a schedule, which enqueues a task at the times of a cron expression, or every `everyMs` milliseconds.
   *
   * It enqueues one task for each due time. For this, a worker of the queue must run, in any process. A schedule with
   * the same name is replaced. Rejects like `enqueue()`, and with `ConfigError` for an invalid name, time or option.
   */
  async schedule<Kind extends KindOf<Inputs>>(
    name: string,
    times: ScheduleTimes | string,
    kind: Kind,
    payload: Inputs[Kind],
    options: ScheduleOptions = {},
  ): Promise<void> {
    this.#assertOpen();
    assertObject("schedule()", options);
    for (const key of ["id", "delayMs", "runAt", "deduplicate"]) {
      if (key in options) throw new ConfigError(`A schedule cannot have the option ${key}. Remove it.`);
    }
    const { missed: given, ...own } = options;
    const missed = readMissed(given);
    const { task } = await this.#maker.make(kind, payload, own);
    const whole = withDefaults(own, this.#settings.taskDefaults);
    const stored = { kind, payload: task.payload, options: whole, ...(missed && { missed }) };
    await this.#schedules.set(name, { ...readTimes(times), ...stored });
  }

  /**
   * Removes a schedule. Resolves to whether it existed. Tasks that it has enqueued stay.
   *
   * Rejects with `ConfigError` or a Redis error.
   */
  unschedule(name: string): Promise<boolean> {
    return this.#schedules.remove(name);
  }

  /** Lists the schedules of this queue, the next due first. Rejects with a Redis error. */
  schedules(): Promise<readonly Schedule[]> {
    return this.#schedules.list();
  }

  /**
   * Starts a worker on this queue, with one handler for all kinds or one for each kind.
   *
   * It runs until you call its `stop()`, its signal aborts, or you close the service. Throws `ConfigError` or `CLOSED`.
   */
  worker(handler: TaskHandler<Tasks> | TaskHandlers<Tasks>, options: WorkerOptions = {}): Worker {
    this.#assertOpen();
    // At run time, handlers have no payload types.
    const untyped = handler as TaskHandler | TaskHandlers<AnyTasks>;
    const worker = new Worker(this.#port, untyped, options, () => this.#workers.delete(worker));
    this.#workers.add(worker);
    return worker;
  }

  /** Counters of this process. */
  get statistics(): QueueStatistics {
    let running = 0;
    for (const worker of this.#workers) running += worker.running;
    return { name: this.name, workers: this.#workers.size, running, ...this.#counter.counts };
  }

  /**
   * Stops the workers of this queue in this process. Tasks that still run after the grace period go back to the queue.
   */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(Array.from(this.#workers, (worker) => worker.stop()));
  }

  async #get(id: string): Promise<Task | null> {
    assertTaskId(id);
    const reply = await this.#store.run(readTask, [id]);
    return reply === null || reply.fields.get("queue") !== this.name ? null : parseTask(id, reply.fields);
  }

  async #add(kind: string, payload: unknown, options: EnqueueOptions): Promise<Task> {
    this.#assertOpen();
    const made = await this.#maker.make(kind, payload, options);
    return this.#answer(made.task, made.payload, options, await this.#enqueuer.add(made.task));
  }

  async #answer(
    { id, kind }: NewTask,
    payload: unknown,
    { priority = 0, delayMs, runAt }: EnqueueOptions = {},
    answer: EnqueueAnswer,
  ): Promise<Task> {
    if (answer.status === "taken") throw takenId(id);
    if (answer.status === "same") {
      const same = await this.#get(answer.id);
      if (same !== null) return same;
      throw new RedisSseError(
        "REDIS_UNAVAILABLE",
        "The task with this deduplication key was just deleted. Enqueue the task again.",
      );
    }
    log("enqueued: %s", id);
    this.#counter.count("enqueued");
    const { createdAt } = answer;
    const due = runAt === undefined ? createdAt + (delayMs ?? 0) : Number(runAt);
    const isDelayed = due > createdAt;
    return {
      id,
      queue: this.name,
      kind,
      payload,
      status: isDelayed ? "delayed" : "queued",
      priority,
      progress: 0,
      message: "",
      data: null,
      attempt: 0,
      createdAt: toIso(createdAt)!,
      runAt: isDelayed ? toIso(Math.floor(due)) : null,
      startedAt: null,
      finishedAt: null,
      result: null,
    };
  }

  /**
   * Publishes a report about a task that does not exist. No state is stored, so the event contains only this report.
   */
  async #publishUnknown(taskId: string, { progress, message }: ReportedProgress): Promise<void> {
    const event: TaskProgress = {
      taskId,
      progress,
      message,
      status: "running",
      type: "progress",
      attempt: 0,
      seq: 0,
    };
    await this.#deps.publish(progressChannel(taskId), JSON.stringify(event));
  }

  #assertOpen(): void {
    if (this.#closed) throw new RedisSseError("CLOSED", "this service is closed");
  }
}

/** Removes the thrown errors from a task: only `deadLetters` shows them, to operators. */
function withoutError({ error, ...task }: DeadLetter): Task {
  void error;
  return task;
}

function takenId(id: string): RedisSseError {
  return new RedisSseError(
    "TASK_EXISTS",
    `A task with id "${id}" already exists. Use another id, or pass deduplicate.`,
  );
}
