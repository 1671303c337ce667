import { setTimeout as pause } from "node:timers/promises";

import { TaskFailure, type TaskContext } from "redis-sse";

/** Payload of a task from `POST /api/tasks`. */
export interface JobPayload {
  readonly steps: number;
  readonly stepMs: number;
  /** Maximum number of attempts. The page uses it to show "Attempt 2 of 3". */
  readonly attempts: number;
}

/** Output of a task, one word per step. */
const WORDS =
  "Orders are up by a tenth, returns are down, and the new warehouse ships orders on the same day. ".split(
    /(?<= )/,
  );

const FLAKY_SUCCEEDS_AT = 3;

/**
 * Simulates work. Each step takes `stepMs` and writes one word of output. Tasks of kind `flaky` fail in the first two
 * attempts. Tasks of kind `fail` fail in every attempt. All other tasks succeed.
 */
export async function runJob(context: TaskContext): Promise<{ steps: number }> {
  const { task, attempt, signal, progress, write, log } = context;
  const { steps, stepMs } = task.payload as JobPayload;
  await log(`attempt ${attempt}: ${steps} steps of ${stepMs} ms`);
  for (let step = 1; step <= steps; step++) {
    await pause(stepMs, undefined, { signal });
    if (step > steps / 2) failIfNeeded(task.kind, attempt);
    await write(WORDS[(step - 1) % WORDS.length]);
    await progress(Math.round((step / steps) * 100), `Step ${step} of ${steps}`);
  }
  await log(`${steps} steps done`);
  return { steps };
}

function failIfNeeded(kind: string, attempt: number): void {
  // Clients see the message of a TaskFailure.
  if (kind === "flaky" && attempt < FLAKY_SUCCEEDS_AT) {
    throw new TaskFailure("The remote server did not respond", { retry: true });
  }
  // Clients see only "failed" for other errors. Operators see the message.
  if (kind === "fail") throw new Error("connect ECONNREFUSED db-7.internal:5432 as reporting");
}
