import { RedisSseError } from "../errors.js";

/**
 * State of a task: `queued -> running -> succeeded | failed | cancelled`.
 *
 * A `delayed` task is not due yet, or waits for its next attempt. If the lease of a task expires, it is `queued` again.
 */
export type TaskStatus = "queued" | "delayed" | "running" | "succeeded" | "failed" | "cancelled";

/** A task with its current state. Times are in ISO 8601. */
export interface Task<Payload = unknown, Result = unknown> {
  /** Id of the task: 1 to 128 characters of A-Z a-z 0-9 _ -. */
  readonly id: string;
  /** The name of the queue. */
  readonly queue: string;
  /** The kind of the task. It selects the handler. */
  readonly kind: string;
  /** The payload, as given to `enqueue()` or as the kind's schema converted it. */
  readonly payload: Payload;
  /** The state. */
  readonly status: TaskStatus;
  /** Priority, from -100 to 100. Higher priorities start first. */
  readonly priority: number;
  /** Progress in percent, from 0 to 100. */
  readonly progress: number;
  /** The newest message that the handler passed to `progress()`, or the public message of a failure or cancellation. */
  readonly message: string;
  /** The newest object that the handler passed to `progress()`. `null` if it passed no object. */
  readonly data: unknown;
  /** Number of attempts so far. */
  readonly attempt: number;
  /** When the task was enqueued. */
  readonly createdAt: string;
  /** When a `delayed` task is due. `null` in all other states. */
  readonly runAt: string | null;
  /** When the last attempt started. `null` before the first attempt. */
  readonly startedAt: string | null;
  /** When the task ended. `null` before its end. */
  readonly finishedAt: string | null;
  /** The return value of the handler. `null` unless the task succeeded. */
  readonly result: Result | null;
}

/**
 * Type of an event on `task_progress:{taskId}`.
 *
 * - `retry`: the attempt failed or its lease expired, and a further attempt follows
 * - `requeued`: the task went back to the queue without using up an attempt
 */
export type TaskEventType =
  "queued" | "started" | "progress" | "retry" | "requeued" | "succeeded" | "failed" | "cancelled";

/** Data of an event on `task_progress:{taskId}`, as JSON. */
export interface TaskProgress {
  /** The id of the task. */
  readonly taskId: string;
  /** Progress in percent, from 0 to 100. */
  readonly progress: number;
  /** The newest message of the task. */
  readonly message: string;
  /** The state of the task after the event. */
  readonly status: TaskStatus;
  /** The type of the event. */
  readonly type: TaskEventType;
  /** Number of attempts so far. */
  readonly attempt: number;
  /** Number of the event in its channel, starting at 1. 0 for a channel without history. */
  readonly seq: number;
  /** The object that the handler passed to `progress()`. Absent if it passed no object. */
  readonly data?: unknown;
}

/** Progress that code outside a worker reports. */
export interface ProgressReport {
  /** Progress in percent, from 0 to 100. */
  readonly progress: number;
  /** A message of at most 1,000 characters. */
  readonly message?: string;
}

/**
 * A failure with a public message: clients that watch the task get the message.
 *
 * Throw it in a handler. The task fails without a further attempt, unless you pass `retry: true`. Clients do not get
 * the message of any other error, because it can contain hosts, queries and credentials.
 */
export class TaskFailure extends Error {
  /** Whether a further attempt follows, if the task has one left. */
  readonly retry: boolean;

  constructor(message: string, { retry = false }: { readonly retry?: boolean } = {}) {
    super(message);
    this.name = "TaskFailure";
    this.retry = retry;
  }
}

export const MAX_MESSAGE = 1_000;

/** Whether a task has ended: succeeded, failed or cancelled. */
export function isFinished(status: TaskStatus): status is "succeeded" | "failed" | "cancelled" {
  return status === "succeeded" || status === "failed" || status === "cancelled";
}

const STATUSES: ReadonlySet<unknown> = new Set<TaskStatus>([
  "queued",
  "delayed",
  "running",
  "succeeded",
  "failed",
  "cancelled",
]);

/** Checks a status that was read from Redis, because another program may have written it. */
export function isStatus(status: unknown): status is TaskStatus {
  return STATUSES.has(status);
}

const CHANNEL = "task_progress:";
const ID = /^[\w-]{1,128}$/;

/** The channel on which the progress of a task is published. */
export function progressChannel(taskId: string): string {
  return CHANNEL + taskId;
}

/** Returns the id of the task to which a channel belongs. `null` for any other channel. */
export function taskOfChannel(channel: string): string | null {
  if (!channel.startsWith(CHANNEL)) return null;
  const id = channel.slice(CHANNEL.length);
  return ID.test(id) ? id : null;
}

/** Checks the id of a task. Ids become parts of keys and channel names, so only harmless characters are allowed. */
export function assertTaskId(id: unknown): asserts id is string {
  if (typeof id !== "string" || !ID.test(id)) {
    throw new RedisSseError(
      "INVALID_TASK",
      "Invalid task id. Use 1 to 128 of the characters A-Z a-z 0-9 _ -",
    );
  }
}

/**
 * Checks an id of `list()` or `listUnreadable()`. The id of an unreadable task can contain other characters, written as
 * %XX.
 */
export function assertListedId(id: unknown): asserts id is string {
  if (typeof id === "string" && /^(?:[\w-]|%(?:[0-9A-F]{2})?){1,200}(?:\.\.\.)?$/.test(id)) return;
  assertTaskId(id);
}

/** Reads a task from the fields of its hash. */
export function parseTask(id: string, fields: ReadonlyMap<string, string>): Task {
  const status = (fields.get("status") ?? "queued") as TaskStatus;
  return {
    id,
    queue: fields.get("queue") ?? "",
    kind: fields.get("kind") ?? "",
    payload: readStored(fields.get("payload")),
    status,
    priority: readNumber(fields.get("priority")),
    progress: readNumber(fields.get("progress")),
    message: fields.get("message") ?? "",
    data: readStored(fields.get("data")),
    attempt: readNumber(fields.get("attempt")),
    createdAt: toIso(fields.get("createdAt")) ?? "",
    runAt: status === "delayed" ? toIso(fields.get("due") ?? fields.get("delayed")) : null,
    startedAt: toIso(fields.get("startedAt")),
    finishedAt: toIso(fields.get("finishedAt")),
    result: readStored(fields.get("result")),
  };
}

/** Returns the current state of a task as an event of its channel. `seq` is the number of events so far. */
export function progressOf({ id, progress, message, status, attempt, data }: Task, seq = 0): TaskProgress {
  const waiting = attempt > 0 ? "retry" : "queued";
  const type = status === "running" ? "progress" : isFinished(status) ? status : waiting;
  return {
    taskId: id,
    progress,
    message,
    status,
    type,
    attempt,
    seq,
    ...(data !== null && { data }),
  };
}

export function parseJson(text: string | undefined): unknown {
  return text === undefined || text === "" ? null : JSON.parse(text);
}

function readNumber(text: string | undefined): number {
  const number = Number(text ?? 0);
  return Number.isFinite(number) ? number : 0;
}

/**
 * Parses a field. Returns `null` if another program damaged it, so that one damaged task does not fail a whole list.
 */
function readStored(text: string | undefined): unknown {
  try {
    return parseJson(text);
  } catch {
    return null;
  }
}

/** Cache of formatted times. The tasks of a batch share their times, and formatting a time is slow. */
const written = new Map<number, string>();
const MAX_WRITTEN = 64;

/** Formats a time in ISO 8601. Returns `null` if the time is missing or invalid. */
export function toIso(milliseconds: number | string | undefined): string | null {
  const at = Number(milliseconds);
  if (!(Math.abs(at) <= 8.64e15)) return null;
  let text = written.get(at);
  if (text === undefined) {
    text = new Date(at).toISOString();
    if (written.size === MAX_WRITTEN) written.clear();
    written.set(at, text);
  }
  return text;
}
