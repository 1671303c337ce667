import { RedisSseError } from "../errors.js";

/**
 * `queued -> running -> succeeded | failed | cancelled`. `delayed` is one that is not due yet, or that waits to be tried
 * again; a task whose worker is lost is `queued` anew.
 */
export type TaskStatus = "queued" | "delayed" | "running" | "succeeded" | "failed" | "cancelled";

/** A task as it stands in Redis. Times are ISO 8601. */
export interface Task<Payload = unknown, Result = unknown> {
  readonly id: string;
  readonly queue: string;
  readonly kind: string;
  readonly payload: Payload;
  readonly status: TaskStatus;
  /** -100 to 100; the higher are run first. */
  readonly priority: number;
  /** 0 to 100. */
  readonly progress: number;
  readonly message: string;
  /** What the handler last reported beside a number; `null` when it has not. */
  readonly data: unknown;
  /** How often a worker has begun it. */
  readonly attempt: number;
  readonly createdAt: string;
  /** When a task that is `delayed` is due. */
  readonly runAt: string | null;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
  /** What the handler returned, once it has succeeded. */
  readonly result: Result | null;
}

/** What an event on `task_progress:{taskId}` tells of: a retry is a failure, or a lost worker, that was not the last. */
export type TaskEventType =
  "queued" | "started" | "progress" | "retry" | "requeued" | "succeeded" | "failed" | "cancelled";

/** What goes over `task_progress:{taskId}`, as JSON. */
export interface TaskProgress {
  readonly taskId: string;
  readonly progress: number;
  readonly message: string;
  readonly status: TaskStatus;
  readonly type: TaskEventType;
  readonly attempt: number;
  /** Which event of its channel this is, from 1; 0 where no history is kept. */
  readonly seq: number;
  /** What the handler reported beside a number. */
  readonly data?: unknown;
}

export interface ProgressReport {
  /** 0 to 100. */
  readonly progress: number;
  /** At most 1,000 characters. */
  readonly message?: string;
}

/**
 * Thrown by a handler to say why a task fails, in words for whoever watches it. The message of any other error is not
 * shown to anyone but the queue's operators: it may name hosts, queries and credentials. It is a verdict: the task is
 * not tried again, unless with `retry: true`.
 */
export class TaskFailure extends Error {
  readonly retry: boolean;

  constructor(message: string, { retry = false }: { readonly retry?: boolean } = {}) {
    super(message);
    this.name = "TaskFailure";
    this.retry = retry;
  }
}

export const MAX_MESSAGE = 1_000;

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

export function progressChannel(taskId: string): string {
  return CHANNEL + taskId;
}

/** The task that a channel tells of; `null` for another channel. */
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

/** What a task's channel would tell of it as it stands, after `seq` events. */
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

/** What another program has broken is not worth a list that cannot be read: `null`. */
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
