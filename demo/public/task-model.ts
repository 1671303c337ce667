import { asObject, numberAt, objectAt, stringAt } from "./json.js";

const STATUSES = ["queued", "delayed", "running", "succeeded", "failed", "cancelled"] as const;

/** "unknown" is the page's own: the server no longer has the task, so no more will come of it. */
export type Status = (typeof STATUSES)[number] | "unknown";

export interface Task {
  readonly id: string;
  readonly kind: string;
  readonly createdAt: number;
  readonly status: Status;
  readonly progress: number;
  readonly message: string;
  readonly attempt: number;
  /** How often it is begun at most; undefined for a task that does not say. */
  readonly attempts: number | undefined;
  /** When a delayed task is due, by this page's clock. */
  readonly dueAt: number | undefined;
  /** Which event of its channel this is the state after: what is older does not count. */
  readonly seq: number;
}

/** What the stream tells of a task. */
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

/** A task as the server answers it. */
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

/** The task after what the stream told; the same one where that is older than what is known. */
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
