import { asObject, numberAt, objectAt, stringAt } from "./json.js";

const STATUSES = ["queued", "delayed", "running", "succeeded", "failed", "cancelled"] as const;

/** "unknown" exists only in the page. It means that the server no longer has the task. */
export type Status = (typeof STATUSES)[number] | "unknown";

export interface Task {
  readonly id: string;
  readonly kind: string;
  readonly createdAt: number;
  readonly status: Status;
  readonly progress: number;
  readonly message: string;
  readonly attempt: number;
  /** Maximum number of attempts. Undefined if the payload does not contain it. */
  readonly attempts: number | undefined;
  /** Time when a delayed task is due, by the clock of this page. */
  readonly dueAt: number | undefined;
  /** Sequence number of the latest applied event. Older events are ignored. */
  readonly seq: number;
}

/** A progress event from the stream. */
export interface Progress {
  readonly taskId: string;
  readonly type: string;
  readonly status: Status;
  readonly progress: number;
  readonly message: string;
  readonly attempt: number;
  readonly seq: number;
}

export function isFinal(status: Status): boolean {
  return status === "succeeded" || status === "failed" || status === "cancelled" || status === "unknown";
}

/** Reads a task from an answer of the server. */
export function asTask(data: unknown): Task | undefined {
  const object = asObject(data);
  const id = stringAt(object, "id");
  const status = statusOf(stringAt(object, "status"));
  if (id === undefined || status === undefined) return undefined;
  const dueInMs = numberAt(object, "dueInMs");
  return {
    id,
    kind: stringAt(object, "kind") ?? "task",
    createdAt: Date.parse(stringAt(object, "createdAt") ?? "") || 0,
    status,
    progress: percent(numberAt(object, "progress")),
    message: stringAt(object, "message") ?? "",
    attempt: numberAt(object, "attempt") ?? 0,
    attempts: numberAt(objectAt(object, "payload"), "attempts"),
    dueAt: dueInMs === undefined ? undefined : Date.now() + dueInMs,
    seq: numberAt(object, "seq") ?? 0,
  };
}

export function asProgress(data: unknown): Progress | undefined {
  const object = asObject(data);
  const taskId = stringAt(object, "taskId");
  const status = statusOf(stringAt(object, "status"));
  if (taskId === undefined || status === undefined) return undefined;
  return {
    taskId,
    type: stringAt(object, "type") ?? "progress",
    status,
    progress: percent(numberAt(object, "progress")),
    message: stringAt(object, "message") ?? "",
    attempt: numberAt(object, "attempt") ?? 0,
    seq: numberAt(object, "seq") ?? 0,
  };
}

/** Applies a progress event. Returns the same task object if the event is not newer. */
export function advance(task: Task, { status, progress, message, attempt, seq }: Progress): Task {
  if (isFinal(task.status) || seq <= task.seq) return task;
  return { ...task, status, progress, message, attempt, seq, dueAt: undefined };
}

function statusOf(text: string | undefined): Status | undefined {
  return STATUSES.find((each) => each === text);
}

function percent(given: number | undefined): number {
  return Math.min(100, Math.max(0, given ?? 0));
}
