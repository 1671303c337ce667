import { setTimeout as pause } from "node:timers/promises";

import { TaskFailure, type TaskContext } from "redis-sse";

/** What `POST /api/tasks` stores with a task. */
export interface JobPayload {
  readonly steps: number;
  readonly stepMs: number;
}

/** Pretends to work: so many steps, each so long. The kind `fail` fails half-way. */
export async function runJob({ task, signal, progress }: TaskContext): Promise<{ steps: number }> {
  const { steps, stepMs } = task.payload as JobPayload;
  for (let step = 1; step <= steps; step++) {
    await pause(stepMs, undefined, { signal });
    if (task.kind === "fail" && step > steps / 2) throw new TaskFailure("this task was made to fail");
    await progress(Math.round((step / steps) * 100), `${task.kind}: step ${step} of ${steps}`);
  }
  return { steps };
}
