import { setTimeout as pause } from "node:timers/promises";

import { createRedisSse } from "../../lib/index.js";
import type { QueueWorkerOptions, QueueWorkerReport } from "./queue-processes.js";

/**
 * A worker in a separate process that tests stop and kill. Each task takes some time. Its result contains the attempt
 * number. On SIGTERM it shuts down like an app and prints its counts.
 */
const { url, queue, workMs, ...options } = JSON.parse(process.argv[2] ?? "{}") as QueueWorkerOptions;

const sse = createRedisSse({ redis: url });
const tasks = sse.queue(queue);
let isWorking = false;
tasks.worker(async ({ attempt }) => {
  if (!isWorking) process.stdout.write("working\n");
  isWorking = true;
  // The work itself.
  await pause(workMs);
  return { attempt, pid: process.pid };
}, options);

process.on("SIGTERM", () => {
  void sse.close().then(() => {
    const report: QueueWorkerReport = tasks.statistics;
    process.stdout.write(`${JSON.stringify(report)}\n`);
  });
});
