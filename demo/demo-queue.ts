import type { QueueService, RedisSse, Worker } from "redis-sse";

import { runJob } from "./job.js";

/** Tasks shown of each state; no more are kept of those that are over. */
export const SHOWN_TASKS = 50;

export function createQueue(sse: RedisSse): QueueService {
  return sse.queue("demo", {
    maxResults: SHOWN_TASKS,
    resultTtlMs: 3_600_000,
    // 1 s, 2 s, 4 s ...: without chance, so that the page can be watched.
    backoff: { delayMs: 1_000, maxDelayMs: 8_000, jitter: 0 },
  });
}

export function startWorker(queue: QueueService): Worker {
  return queue.worker(runJob, {
    concurrency: 16,
    onError: (error, task) => console.log(`task ${task.id} failed: ${String(error)}`),
  });
}
