import type { QueueService, RedisSse, Worker } from "redis-sse";

import { runJob } from "./job.js";

/** Maximum number of tasks shown per state, and of finished tasks kept. */
export const SHOWN_TASKS = 50;

export function createQueue(sse: RedisSse): QueueService {
  return sse.queue("demo", {
    maxResults: SHOWN_TASKS,
    resultTtlMs: 3_600_000,
    // Delays of 1 s, 2 s, 4 s and so on. No jitter, so that the page shows round numbers.
    backoff: { delayMs: 1_000, maxDelayMs: 8_000, jitter: 0 },
  });
}

export function startWorker(queue: QueueService): Worker {
  return queue.worker(runJob, {
    concurrency: 16,
    onError: (error, task) => console.log(`task ${task.id} failed: ${String(error)}`),
  });
}
