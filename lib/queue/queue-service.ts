import { randomUUID } from "node:crypto";

import type { Clock } from "../clock.js";
import { ConfigError, RedisSseError } from "../errors.js";
import { createLog } from "../log.js";
import type { RedisClient } from "../redis/client.js";
import { assertKnown, assertObject } from "../validate.js";
import { DeadLetters } from "./dead-letters.js";
import { readEnqueueOptions, withDefaults, type EnqueueOptions } from "./enqueue-options.js";
import { Enqueuer, type NewTask } from "./enqueuer.js";
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
import { readProgress, type ReportedProgress } from "./task-context.js";
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
import { TaskMaker, type TaskEntry } from "./task-maker.js";
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
import type { WorkerPort } from "./worker-port.js";
import type { TaskHandler, TaskHandlers } from "./task-handlers.js";
import type { WorkerOptions } from "./worker-options.js";
import { Worker } from "./worker.js";

/** What the queue needs of the service around it. */
export interface QueueDependencies {
  readonly commands: () => RedisClient;
  /** Calls back on every message of a channel, `null` where some may have been missed; the answer ends it. */
  readonly subscribe: (channel: string, onMessage: (text: string | null) => void) => () => void;
  /** Publishes on the channel of a task that is none of a queue. */
  readonly publish: (channel: string, data: string) => Promise<void>;
  readonly newEpoch: () => string;
  readonly keyPrefix: string;
  readonly clock: Clock;
  /** The most bytes that a payload, a result or an event may take as JSON. */
  readonly maxBytes: number;
  /** The most events kept of a task; `null` where none are. */
  readonly keepEvents: number | null;
}

export interface ScheduleOptions extends Omit<EnqueueOptions, "id" | "delayMs" | "runAt" | "deduplicate"> {
  /** Default "once". */
  readonly missed?: MissedTimes;
}

const log = createLog("queue");

/**
 * Tasks for workers, at least once each: taking a task and recording who has it is one step in Redis, so a
 * worker that dies at any moment leaves a lease that runs out, and another worker begins the task again. What an
 * attempt reports counts only as long as it is the task's last.
 *
 * `Tasks` says what each kind of task carries when a handler gets it, `Inputs` what is given for it: a schema may make
 * the one of the other.
 */
export class QueueService<Tasks extends TaskMap = AnyTasks, Inputs extends TaskMap = Tasks> {
  readonly name: string;
  /** The tasks that have failed for good. */
  readonly deadLetters: DeadLetters;
  readonly #deps: QueueDependencies;
  readonly #settings: QueueSettings;
  readonly #store: QueueStore;
  readonly #maker: TaskMaker;
  readonly #enqueuer: Enqueuer;
  readonly #schedules: Schedules;
  readonly #port: WorkerPort;
  readonly #counter = new QueueCounter();
  readonly #workers = new Set<Worker>();
  #closed = false;

  /** Made by `RedisSse.queue()`. Throws `ConfigError`. */
  constructor(name: string, settings: QueueSettings, deps: QueueDependencies) {
    if (typeof name !== "string" || !/^[\w.-]{1,64}$/.test(name)) {
      throw new ConfigError("expected the queue's name as 1 to 64 characters of A-Z a-z 0-9 _ . -");
    }
    this.name = name;
    this.#deps = deps;
    this.#settings = settings;
    this.#store = new QueueStore({ ...deps, name, results: this.#settings.results });
    this.#maker = new TaskMaker(this.#settings, deps.maxBytes);
    this.#enqueuer = new Enqueuer(this.#store);
    this.deadLetters = new DeadLetters(this.#store);
    this.#schedules = new Schedules(this.#store, async (due, next, { kind, payload, options: given }) => {
      // Its schema has had it already.
      const { extra } = readEnqueueOptions(given, this.#settings.resultTtlMs);
      // Random: an id that can be guessed would let anybody watch the task through an unguarded `taskStream()`.
      const id = randomUUID();
      const answer = await this.#enqueuer.fire(due, next, { id, kind, payload, extra });
      if (answer?.status === "ok") this.#counter.count("enqueued");
      return answer !== null;
    });
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
   * Puts a task in line. Answers it, or, with `deduplicate`, the one of that key that is there already. Rejects with
   * `TASK_EXISTS` for an id that is taken, `INVALID_TASK` for a kind, id, payload or key of deduplication that cannot be,
   * `UNSERIALIZABLE`, `TASK_TOO_LARGE`, `ConfigError` for any other option, `CLOSED` or a fault of Redis; then nothing was
   * put in line, unless it is the answer that was lost.
   */
  async enqueue<Kind extends KindOf<Tasks> & KindOf<Inputs>>(
    kind: Kind,
    payload: Inputs[Kind],
    options: EnqueueOptions = {},
  ): Promise<Task<Tasks[Kind]>> {
    return (await this.#add(kind, payload, options)) as Task<Tasks[Kind]>;
  }

  /**
   * Puts up to 1,000 tasks in line, all of them or none, in their order. Rejects as `enqueue()`: a message begins with which
   * of them is meant.
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

  /** A task of this queue as it stands; `null` when there is none of that id, or it is forgotten. */
  async get(id: string): Promise<TaskOf<Tasks> | null> {
    return (await this.#get(id)) as TaskOf<Tasks> | null;
  }

  /**
   * Cancels a task, in line or under way in any process: the signal of its handler fires, and what that does no longer
   * counts. Answers whether it is cancelled: not where it has ended otherwise, or is not there. The message, at most 1,000
   * characters, is shown to whoever watches. Rejects with `INVALID_TASK` or a fault of Redis.
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
   * Publishes progress on `task_progress:{taskId}`, for whoever does the work outside a `Worker`. Answers
   * whether it was taken: a task that has ended takes none. Rejects with `INVALID_TASK` or a fault of Redis.
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

  /** The tasks in one state, page by page. Rejects with `ConfigError`, `INVALID_TASK` or a fault of Redis. */
  async list(state: TaskStatus, options: ListOptions = {}): Promise<TaskPage<TaskOf<Tasks>>> {
    const { tasks, next } = await listPage(this.#store, state, options);
    return { tasks: tasks.map(withoutError) as unknown as TaskOf<Tasks>[], next };
  }

  /** The ids that were set aside because their tasks cannot be read, the oldest first. Rejects as `list()`. */
  listUnreadable(options: ListOptions = {}): Promise<TaskPage<UnreadableTask>> {
    return listUnreadable(this.#store, options);
  }

  /**
   * Forgets a task that is not running, and takes an id out of the unreadable ones. Resolves to whether there was one. Rejects
   * with `TASK_RUNNING` if a worker has the task (cancel it first), `INVALID_TASK` or a fault of Redis.
   */
  async remove(id: string): Promise<boolean> {
    assertListedId(id);
    const reply = await this.#store.run(removeTask, [id]);
    if (reply !== "running") return reply === "removed";
    throw new RedisSseError("TASK_RUNNING", `Task "${id}" is running. Cancel it, then remove it.`);
  }

  /**
   * Forgets tasks that have ended, the oldest first. Resolves to how many. Rejects with `ConfigError` or a fault
   * of Redis.
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
   * Deletes the queue: all its tasks, schedules and counters. Rejects with `TASK_RUNNING` while workers have tasks,
   * unless with `force`: what their handlers do then no longer counts. Tasks cannot start meanwhile.
   */
  async obliterate(options: { readonly force?: boolean } = {}): Promise<void> {
    assertObject("obliterate()", options);
    assertKnown("obliterate()", options, new Set(["force"]));
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

  /** How many tasks there are in each state, and what was counted so far. Rejects with a fault of Redis. */
  async counts(): Promise<QueueCounts> {
    return toCounts(await this.#store.run(countTasks, []));
  }

  /** Keeps all workers of this queue, in every process, from beginning tasks; those under way go on. Rejects with a fault of Redis. */
  async pause(): Promise<void> {
    await this.#store.run(pauseQueue, ["1"]);
  }

  /** Lets the workers go on. Rejects with a fault of Redis. */
  async resume(): Promise<void> {
    await this.#store.run(pauseQueue, ["0"]);
  }

  /**
   * Puts a task in line again and again: at the times of a cron expression, or every so many milliseconds; as long as
   * any worker of this queue runs, in whatever process, once for each time. A schedule of the same name takes the place of the
   * one before. Rejects with `ConfigError`, as `enqueue()`, or with a fault of Redis.
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
      if (key in options) throw new ConfigError(`expected no ${key} for a schedule`);
    }
    const { missed: given, ...own } = options;
    const missed = readMissed(given);
    const { task } = await this.#maker.make(kind, payload, own);
    const whole = withDefaults(own, this.#settings.taskDefaults);
    const stored = { kind, payload: task.payload, options: whole, ...(missed && { missed }) };
    await this.#schedules.set(name, { ...readTimes(times), ...stored });
  }

  /** Takes a schedule away; answers whether there was one. What it has put in line stays there. */
  unschedule(name: string): Promise<boolean> {
    return this.#schedules.remove(name);
  }

  /** The schedules of this queue, the next first. Rejects with a fault of Redis. */
  schedules(): Promise<readonly Schedule[]> {
    return this.#schedules.list();
  }

  /**
   * Starts a worker on this queue: with one handler for all tasks, or one for each kind. It runs until its `stop()`, its
   * signal, or the service's `close()`. Throws `ConfigError` or `CLOSED`.
   */
  worker(handler: TaskHandler<Tasks> | TaskHandlers<Tasks>, options: WorkerOptions = {}): Worker {
    this.#assertOpen();
    // What its kinds carry is a matter of types alone.
    const untyped = handler as TaskHandler | TaskHandlers<AnyTasks>;
    const worker = new Worker(this.#port, untyped, options, () => this.#workers.delete(worker));
    this.#workers.add(worker);
    return worker;
  }

  /** What has happened in this process. */
  get statistics(): QueueStatistics {
    let running = 0;
    for (const worker of this.#workers) running += worker.running;
    return { name: this.name, workers: this.#workers.size, running, ...this.#counter.counts };
  }

  /** Stops this process' workers of the queue; tasks that are under way go back to it. */
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
      throw new RedisSseError("REDIS_UNAVAILABLE", "the task of this key has just been forgotten");
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

  /** Of a task that is in no queue nothing is known but what is said of it. */
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

/** What was thrown is for those who look after the dead letters. */
function withoutError({ error, ...task }: DeadLetter): Task {
  void error;
  return task;
}

function takenId(id: string): RedisSseError {
  return new RedisSseError("TASK_EXISTS", `expected an id that no task has, got "${id}"`);
}
