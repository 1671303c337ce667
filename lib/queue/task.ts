import { RedisSseError } from "../errors.js";

/** `queued -> running -> succeeded | failed`; a running task whose worker is lost is queued again. */
export type TaskStatus = "queued" | "running" | "succeeded" | "failed";

/** A task as it stands in Redis. Times are ISO 8601. */
export interface Task<Payload = unknown, Result = unknown> {
  readonly id: string;
  readonly kind: string;
  readonly payload: Payload;
  readonly status: TaskStatus;
  /** 0 to 100. */
  readonly progress: number;
  readonly message: string;
  /** How often a worker has begun it. */
  readonly attempt: number;
  readonly createdAt: string;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
  /** What the handler returned, once it has succeeded. */
  readonly result: Result | null;
}

/** What goes over `task_progress:{taskId}`, as JSON. */
export interface TaskProgress {
  readonly taskId: string;
  readonly progress: number;
  readonly message: string;
  readonly status: TaskStatus;
}

export interface ProgressReport {
  /** 0 to 100. */
  readonly progress: number;
  /** At most 1,000 characters. */
  readonly message?: string;
}

/**
 * Thrown by a handler to say why a task failed, in words for whoever watches it. The message of any other
 * error is not shown to anyone: it may name hosts, queries and credentials.
 */
export class TaskFailure extends Error {
  constructor(message: string) {
    super(message);
    this.name = "TaskFailure";
  }
}

export function isFinished(status: TaskStatus): boolean {
  return status === "succeeded" || status === "failed";
}

export function progressOf({ id, progress, message, status }: Task): TaskProgress {
  return { taskId: id, progress, message, status };
}

export function progressChannel(taskId: string): string {
  return `task_progress:${taskId}`;
}

/** Ids become parts of keys and channels, so they are of our own making or as harmless. */
export function assertTaskId(id: unknown): asserts id is string {
  if (typeof id !== "string" || !/^[\w-]{1,128}$/.test(id)) {
    throw new RedisSseError("INVALID_TASK", "expected a task id of 1 to 128 characters of A-Z a-z 0-9 _ -");
  }
}

/** Reads a task from the flat list of fields and values that a script returns; `null` from an empty one. */
export function parseTask(fields: readonly string[]): Task | null {
  const hash = new Map<string, string>();
  for (let index = 0; index + 1 < fields.length; index += 2) hash.set(fields[index]!, fields[index + 1]!);
  const id = hash.get("id");
  if (id === undefined) return null;
  return {
    id,
    kind: hash.get("kind") ?? "",
    payload: parseJson(hash.get("payload")),
    status: (hash.get("status") ?? "queued") as TaskStatus,
    progress: Number(hash.get("progress") ?? 0),
    message: hash.get("message") ?? "",
    attempt: Number(hash.get("attempt") ?? 0),
    createdAt: toIso(hash.get("createdAt")) ?? "",
    startedAt: toIso(hash.get("startedAt")),
    finishedAt: toIso(hash.get("finishedAt")),
    result: parseJson(hash.get("result")),
  };
}

function parseJson(text: string | undefined): unknown {
  return text === undefined || text === "" ? null : JSON.parse(text);
}

function toIso(milliseconds: string | undefined): string | null {
  return milliseconds === undefined ? null : new Date(Number(milliseconds)).toISOString();
}
