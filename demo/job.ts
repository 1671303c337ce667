import { setTimeout as pause } from "node:timers/promises";

import { TaskFailure, type TaskContext } from "redis-sse";

/** What `POST /api/tasks` stores with a task. */
export interface JobPayload {
  readonly steps: number;
  readonly stepMs: number;
  /** How often it is begun at most, for the page to say "attempt 2 of 3". */
  readonly attempts: number;
}

/** What tasks write, word by word. */
const WORDS =
  "Orders are up by a tenth, returns are down, and the new warehouse ships on the day that it is asked to. ".split(
    /(?<= )/,
  );

const GOOD_AT = 3;

/**
 * Pretends to work: so many steps, each so long, each with a word of output. The kind `flaky` fails half-way until its
 * third attempt, `fail` each time; any other succeeds.
 */
export async function runJob(context: TaskContext): Promise<{ steps: number }> {
  const { task, attempt, signal, progress, write, log } = context;
  const { steps, stepMs } = task.payload as JobPayload;
  await log(`attempt ${attempt}: ${steps} steps of ${stepMs} ms`);
  for (let step = 1; step <= steps; step++) {
    await pause(stepMs, undefined, { signal });
    if (step > steps / 2) failWhereItShould(task.kind, attempt);
    await write(WORDS[(step - 1) % WORDS.length]);
    await progress(Math.round((step / steps) * 100), `Step ${step} of ${steps}`);
  }
  await log(`${steps} steps done`);
  return { steps };
}

function failWhereItShould(kind: string, attempt: number): void {
  // In words for whoever watches.
  if (kind === "flaky" && attempt < GOOD_AT) {
    throw new TaskFailure("the other side did not answer", { retry: true });
  }
  // Only operators see what it says: those who watch read "failed".
  if (kind === "fail") throw new Error("connect ECONNREFUSED db-7.internal:5432 as reporting");
}
