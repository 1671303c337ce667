import { randomUUID } from "node:crypto";

import type { Clock } from "../clock.js";
import { ConfigError, RedisSseError, sanitize } from "../errors.js";
import { createLog } from "../log.js";
import type { RedisClient } from "../redis/client.js";
import { encodeJson, isLargerThan } from "../serialize.js";
import { assertKnown, readWholeNumber } from "../validate.js";
import * as scripts from "./queue-scripts.js";
import {
  assertTaskId,
  isFinished,
  parseTask,
  progressChannel,
  type ProgressReport,
  type Task,
  type TaskProgress,
} from "./task.js";
import type { TaskLease, TaskOutcome, WorkerPort } from "./worker-port.js";
import { Worker, type TaskHandler, type WorkerOptions } from "./worker.js";

export interface QueueOptions {
  /** How often a task is begun before it fails for good, where its workers are lost. Default 3. */
  readonly attempts?: number;
  /** Milliseconds that a finished task can be read. Default 24 hours. */
  readonly resultTtlMs?: number;
}

export interface EnqueueOptions {
  /** The task's id, 1 to 128 characters of A-Z a-z 0-9 _ -. Default: a random UUID. */
  readonly id?: string;
}

/** What the queue needs of the service around it. */
export interface QueueDependencies {
  readonly commands: () => RedisClient;
  /** Calls back on every message of a channel, as long as there is a connection; the answer ends it. */
  readonly subscribe: (channel: string, onMessage: () => void) => () => void;
  /** Publishes on a channel that will be completed one day, or, with its last event, completes it. */
  readonly publish: (channel: string, data: string, isLast: boolean) => Promise<void>;
  /** Lets a channel that was completed begin anew. */
  readonly reopen: (channel: string) => Promise<void>;
  readonly keyPrefix: string;
  readonly clock: Clock;
  /** The most bytes that a payload or a result may take as JSON. */
  readonly maxBytes: number;
}

const log = createLog("queue");

const ENQUEUE_OPTIONS: ReadonlySet<string> = new Set<keyof EnqueueOptions>(["id"]);

const DAY_MS = 24 * 3600 * 1000;
const MAX_MESSAGE = 1_000;
const GIVEN_UP = "given up: its workers were lost";

/**
 * Tasks for workers, at least once each: taking a task and recording who has it is one step in Redis, so a
 * worker that dies at any moment leaves a lease that runs out, and another worker begins the task again.
 */
export class QueueService {
  readonly name: string;
  readonly #deps: QueueDependencies;
  readonly #attempts: number;
  readonly #resultTtlMs: number;
  readonly #keys: {
    readonly ready: string;
    readonly leases: string;
    readonly task: string;
    readonly wake: string;
  };
  readonly #workers = new Set<Worker>();
  #closed = false;

  /** Made by `RedisSse.queue()`. Throws `ConfigError`. */
  constructor(name: string, options: QueueOptions = {}, deps: QueueDependencies) {
    const { attempts = 3, resultTtlMs = DAY_MS } = options;
    if (typeof name !== "string" || !/^[\w.-]{1,64}$/.test(name)) {
      throw new ConfigError("expected the queue's name as 1 to 64 characters of A-Z a-z 0-9 _ . -");
    }
    assertKnown("options", options, new Set(["attempts", "resultTtlMs"]));
    readWholeNumber("attempts", attempts, 1);
    readWholeNumber("resultTtlMs", resultTtlMs, 1, Number.MAX_SAFE_INTEGER);
    this.name = name;
    this.#deps = deps;
    this.#attempts = attempts;
    this.#resultTtlMs = resultTtlMs;
    // The braces are a hash tag: all keys of one queue live in one slot of a cluster.
    const base = `${deps.keyPrefix}queue:{${name}}`;
    this.#keys = {
      ready: `${base}:ready`,
      leases: `${base}:leases`,
      task: `${base}:task:`,
      wake: `${base}:wake`,
    };
  }

  /**
   * Stores a task and puts it at the end of the queue. Rejects with `INVALID_TASK`, `UNSERIALIZABLE`,
   * `TASK_TOO_LARGE` or a fault of Redis.
   */
  async enqueue<Payload>(
    kind: string,
    payload: Payload,
    options: EnqueueOptions = {},
  ): Promise<Task<Payload>> {
    if (typeof kind !== "string" || kind === "" || kind.length > 128) {
      throw new RedisSseError("INVALID_TASK", "expected kind as a string of 1 to 128 characters");
    }
    assertKnown("enqueue()", options, ENQUEUE_OPTIONS);
    const id = options.id ?? randomUUID();
    assertTaskId(id);
    const json = this.#toJson(payload, "payload");
    // A task of this id may have ended long ago, and its channel with it.
    if (options.id !== undefined && (await this.get(id)) === null)
      await this.#deps.reopen(progressChannel(id));
    const { ready, task, wake } = this.#keys;
    const createdAt = await this.#safely((client) =>
      scripts.enqueue(client, [task + id, ready], [id, kind, json, wake, randomUUID()]),
    );
    if (createdAt === null)
      throw new RedisSseError("INVALID_TASK", `expected an id that is not taken, got "${id}"`);
    log("enqueued: %s", id);
    return {
      id,
      kind,
      payload,
      status: "queued",
      progress: 0,
      message: "",
      attempt: 0,
      createdAt,
      startedAt: null,
      finishedAt: null,
      result: null,
    };
  }

  /** A task as it stands; `null` when there is none of that id, or its result has expired. */
  async get(id: string): Promise<Task | null> {
    assertTaskId(id);
    const fields = await this.#safely((client) => scripts.read(client, [this.#keys.task + id], []));
    return fields === null ? null : parseTask(fields);
  }

  /**
   * Publishes progress on `task_progress:{taskId}`, for whoever does the work outside a `Worker`. Answers
   * whether it was taken: a task that has ended takes none. Rejects with `INVALID_TASK` or a fault of Redis.
   */
  async publishProgress(taskId: string, report: ProgressReport): Promise<boolean> {
    assertTaskId(taskId);
    return this.#report(taskId, "", report);
  }

  /** Starts a worker on this queue. It runs until its `stop()`, its signal, or the service's `close()`. */
  worker(handler: TaskHandler, options: WorkerOptions = {}): Worker {
    if (this.#closed) throw new RedisSseError("CLOSED", "this service is closed");
    const worker = new Worker(this.#port(), handler, options, () => this.#workers.delete(worker));
    this.#workers.add(worker);
    return worker;
  }

  /** Stops this process' workers of the queue; tasks that are under way go back to it. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(Array.from(this.#workers, (worker) => worker.stop()));
  }

  #port(): WorkerPort {
    const { ready, leases, task, wake } = this.#keys;
    return {
      clock: this.#deps.clock,
      onWake: (listener) => this.#deps.subscribe(wake, listener),
      claim: async (leaseMs) => {
        const token = randomUUID();
        const args = [task, token, leaseMs, this.#attempts, this.#resultTtlMs, GIVEN_UP];
        const { givenUp, fields } = await this.#safely((client) =>
          scripts.claim(client, [ready, leases], args),
        );
        for (const { id, progress } of givenUp) void this.#tellGivenUp(id, progress);
        const claimed = fields === null ? null : parseTask(fields);
        return claimed === null ? null : { task: claimed, token };
      },
      renew: ({ task: { id }, token }, leaseMs) =>
        this.#safely((client) => scripts.renew(client, [task + id, leases], [id, token, leaseMs])),
      report: ({ task: { id }, token }, report) => this.#report(id, token, report),
      finish: (lease, outcome) => this.#finish(lease, outcome),
      giveBack: ({ task: { id }, token }) =>
        this.#safely((client) => scripts.giveBack(client, [task + id, ready, leases], [id, token, wake])),
    };
  }

  async #report(taskId: string, token: string, report: ProgressReport): Promise<boolean> {
    if (typeof report !== "object" || report === null) {
      throw new RedisSseError("INVALID_TASK", `expected { progress, message? }, got ${typeof report}`);
    }
    const { progress, message = "" } = report;
    if (typeof progress !== "number" || !(progress >= 0 && progress <= 100)) {
      throw new RedisSseError("INVALID_TASK", "expected progress as a number from 0 to 100");
    }
    if (typeof message !== "string" || message.length > MAX_MESSAGE) {
      throw new RedisSseError(
        "INVALID_TASK",
        `expected message as a string of at most ${MAX_MESSAGE} characters`,
      );
    }
    const event: TaskProgress = { taskId, progress, message, status: "running" };
    const args = [token, progress, message];
    const taken = await this.#safely((client) => scripts.report(client, [this.#keys.task + taskId], args));
    if (taken) await this.#tell(event);
    return taken;
  }

  /**
   * Publishes what has become of a task. Called after the move: where this process ends between, the task itself
   * says how it stands, and who watches it has to look there.
   */
  async #tell(event: TaskProgress): Promise<void> {
    const channel = progressChannel(event.taskId);
    try {
      await this.#deps.publish(channel, JSON.stringify(event), isFinished(event.status));
    } catch (error) {
      const fault = sanitize(error);
      // Its end was told before, and this is the same call again.
      if (fault.code !== "COMPLETED" || !isFinished(event.status)) throw fault;
    }
  }

  async #tellGivenUp(taskId: string, progress: number): Promise<void> {
    try {
      await this.#tell({ taskId, progress, message: GIVEN_UP, status: "failed" });
    } catch (error) {
      log("cannot tell the end of %s: %s", taskId, sanitize(error).message);
    }
  }

  async #finish({ task, token }: TaskLease, outcome: TaskOutcome): Promise<boolean> {
    const { status, progress, message } = outcome;
    const event: TaskProgress = { taskId: task.id, progress, message, status };
    const result = outcome.result === undefined ? "" : this.#toJson(outcome.result, "result");
    const args = [task.id, token, status, progress, message, result, this.#resultTtlMs];
    const taken = await this.#safely((client) =>
      scripts.finish(client, [this.#keys.task + task.id, this.#keys.leases], args),
    );
    // Where this fails the whole is tried again: to the one who has finished it, it answers the same.
    if (taken) await this.#tell(event);
    return taken;
  }

  #toJson(value: unknown, what: "payload" | "result"): string {
    const json = encodeJson(value, what);
    if (isLargerThan(json, this.#deps.maxBytes)) {
      throw new RedisSseError(
        "TASK_TOO_LARGE",
        `expected ${what} of at most ${this.#deps.maxBytes} bytes as JSON`,
      );
    }
    return json;
  }

  async #safely<T>(call: (client: RedisClient) => Promise<T>): Promise<T> {
    try {
      return await call(this.#deps.commands());
    } catch (error) {
      throw sanitize(error);
    }
  }
}
