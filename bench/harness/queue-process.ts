import { join } from "node:path";

import type { QueueTarget } from "../queues/catalog.js";
import type { QueueQuestions } from "../queues/process.js";
import { startScript, stop } from "./children.js";
import { dist } from "./paths.js";
import { connectionsOf } from "./proc.js";
import { createQuestions } from "./questions.js";
import type { RedisServer } from "./redis.js";

/** A process that uses a queue. */
export interface QueueProcess {
  readonly ask: <Name extends keyof QueueQuestions>(
    question: Name,
    ...shape: Parameters<QueueQuestions[Name]>
  ) => ReturnType<QueueQuestions[Name]>;
  /** To Redis. */
  connections(): number;
}

/** Starts so many processes on an empty Redis, and ends them again, whatever happens. */
export async function withQueueProcesses<Figures>(
  target: QueueTarget,
  redis: RedisServer,
  number: 1 | 2,
  use: (one: QueueProcess, other: QueueProcess) => Promise<Figures>,
): Promise<Figures> {
  await redis.admin.flushall();
  const children = Array.from({ length: number }, () =>
    startScript(join(target.folder ?? dist, "queues/process.js"), {
      BENCH_REDIS_URL: redis.url,
      BENCH_QUEUE: target.module ?? target.name,
    }),
  );
  try {
    const processes = children.map((child) => ({
      ask: createQuestions(child, target.name) as QueueProcess["ask"],
      connections: () => connectionsOf(child.pid!, redis.port),
    }));
    return await use(processes[0]!, processes.at(-1)!);
  } finally {
    await Promise.all(children.map((child) => stop(child)));
  }
}
