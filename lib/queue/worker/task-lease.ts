import { parseSettings, type TaskSettings } from "../enqueue-options.js";
import type { ClaimedTask } from "../scripts/claim.js";
import { parseJson, toIso, type Task } from "../task.js";

/** An attempt at a task: what was taken, and the token that proves it. Each attempt has a token of its own. */
export interface TaskLease {
  readonly task: Task;
  readonly token: string;
  /** How often the task is begun at most. */
  readonly attempts: number;
  readonly settings: TaskSettings;
  /** What is stored of it cannot be read: it fails without being begun. */
  readonly isBroken: boolean;
}

/** Reads what was taken from a queue, whose `defaultAttempts` count where the task says nothing. */
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

/** `null` where it is no JSON, as another program may have written it: those taken with it are none the worse. */
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
