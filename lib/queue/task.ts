import { RedisSseError } from "../errors.js";

/**
 * `queued -> running -> succeeded | failed | cancelled`. A `delayed` task is not due yet, or waits for its next attempt. If a
 * worker is lost, its task is `queued` again.
 */
export type TaskStatus = "queued" | "delayed" | "running" | "succeeded" | "failed" | "cancelled";

/** A task with its current state. Times are in ISO 8601. */
export interface Task<Payload = unknown, Result = unknown> {
  /** The id: 1 to 128 characters of A-Z a-z 0-9 _ -. */
  readonly id: string;
  /** The name of the queue. */
  readonly queue: string;
  /** The kind. It selects the handler. */
  readonly kind: string;
  /** The payload, as given to `enqueue()` or as the kind's schema converted it. */
  readonly payload: Payload;
  /** The state. */
  readonly status: TaskStatus;
  /** -100 to 100. Higher priorities start first. */
  readonly priority: number;
  /** 0 to 100. */
  readonly progress: number;
  /** The newest message that the handler passed to `progress()`, or the public message of a failure. */
  readonly message: string;
  /** The newest object that the handler passed to `progress()`. `null` if it passed none. */
  readonly data: unknown;
  /** Number of attempts so far. */
  readonly attempt: number;
  /** When the task was enqueued. */
  readonly createdAt: string;
  /** When a `delayed` task is due. `null` in all other states. */
  readonly runAt: string | null;
  /** When the last attempt began. `null` before the first attempt. */
  readonly startedAt: string | null;
  /** When the task ended. `null` until then. */
  readonly finishedAt: string | null;
  /** The return value of the handler. `null` until the task has succeeded. */
  readonly result: Result | null;
}

/** Type of an event on `task_progress:{taskId}`. `retry` is a failed attempt, or a lost worker, that a further attempt follows. */
export type TaskEventType =
  "queued" | "started" | "progress" | "retry" | "requeued" | "succeeded" | "failed" | "cancelled";

/** Data of an event on `task_progress:{taskId}`, as JSON. */
export interface TaskProgress {
  /** The id of the task. */
  readonly taskId: string;
  /** 0 to 100. */
  readonly progress: number;
  /** The newest message of the task. */
  readonly message: string;
  /** The state of the task after the event. */
  readonly status: TaskStatus;
  /** What has happened. */
  readonly type: TaskEventType;
  /** Number of attempts so far. */
  readonly attempt: number;
  /** Number of the event in its channel, starting at 1. It is 0 for a channel without history. */
  readonly seq: number;
  /** The object that the handler passed to `progress()`, if any. */
  readonly data?: unknown;
}

/** Progress of work outside a worker. */
export interface ProgressReport {
  /** 0 to 100. */
  readonly progress: number;
  /** At most 1,000 characters. */
  readonly message?: string;
}

/**
 * A failure whose message is shown to clients that watch the task.
 *
 * Throw it in a handler. The task fails without a further attempt, unless you pass `retry: true`. Only operators of the queue see
 * the message of any other error: it can contain hosts, queries and credentials.
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

/** Another program can have written it. */
export function isStatus(status: unknown): status is TaskStatus {
  return STATUSES.has(status);
}

const CHANNEL = "task_progress:";
const ID = /^[\w-]{1,128}$/;

/** The channel on which the progress of a task is published. */
export function progressChannel(taskId: string): string {
  return CHANNEL + taskId;
}

/** The task id of a task's channel. `null` for another channel. */
export function taskOfChannel(channel: string): string | null {
  if (!channel.startsWith(CHANNEL)) return null;
  const id = channel.slice(CHANNEL.length);
  return ID.test(id) ? id : null;
}

/** Ids become parts of keys and channels, so they are of our own making or as harmless. */
export function assertTaskId(id: unknown): asserts id is string {
  if (typeof id !== "string" || !ID.test(id)) {
    throw new RedisSseError("INVALID_TASK", "expected a task id of 1 to 128 characters of A-Z a-z 0-9 _ -");
  }
}

/** As `assertTaskId()`; an id in the list of the unreadable ones can have other characters, written as %XX. */
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

/** The current state of a task as an event of its channel, after `seq` events. */
export function progressOf({ id, progress, message, status, attempt, data }: Task, seq = 0): TaskProgress {
  const inLine = attempt > 0 ? "retry" : "queued";
  const type = status === "running" ? "progress" : isFinished(status) ? status : inLine;
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

/** `null` for a field that another program has broken, so that the rest of a list can be read. */
function readStored(text: string | undefined): unknown {
  try {
    return parseJson(text);
  } catch {
    return null;
  }
}

/** Times that were written lately: tasks of a batch share theirs, and writing one is dear. */
const written = new Map<number, string>();
const MAX_WRITTEN = 64;

/** `null` for a time that is missing or cannot be. */
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
