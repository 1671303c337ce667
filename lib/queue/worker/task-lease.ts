import { parseSettings, type TaskSettings } from "../enqueue-options.js";
import type { ClaimedTask } from "../scripts/claim.js";
import { parseJson, toIso, type Task } from "../task.js";

/** A task that a worker took, with the token of the attempt. Each attempt has its own token. */
export interface TaskLease {
  readonly task: Task;
  readonly token: string;
  /** Maximum number of attempts. */
  readonly attempts: number;
  readonly settings: TaskSettings;
  /** The stored payload or options cannot be read. The task fails, and its handler is not called. */
  readonly isBroken: boolean;
}

/** Creates the lease of a task. `defaultAttempts` applies if the task does not set its number of attempts. */
export function readLease(claimed: ClaimedTask, queue: string, defaultAttempts: number): TaskLease {
  const { id, kind, token, attempt, attempts, createdAt, startedAt, priority, progress } = claimed;
  const content = readContent(claimed);
  const task: Task = {
    id,
    queue,
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
    attempts: attempts ?? defaultAttempts,
    settings: content?.settings ?? {},
    isBroken: content === null,
  };
}

/** Returns `null` if another program damaged the data. The other tasks of the same reply are not affected. */
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
