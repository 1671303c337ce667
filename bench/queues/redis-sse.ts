/** Ours, with its defaults: leases, tokens, retries, finished tasks kept. One service, whatever the number of queues. */
import { createRedisSse, type RedisSse, type Worker } from "redis-sse";

import type { OpenQueue, Payload } from "./queue.js";

let service: RedisSse | undefined;

export const open: OpenQueue = async (url, name) => {
  service ??= createRedisSse({ redis: url });
  const queue = service.queue<{ noop: Payload }>(name);
  let worker: Worker | undefined;
  return {
    add: (payload) => queue.enqueue("noop", payload),
    addBulk: (payloads) => queue.enqueueMany(payloads.map((payload) => ({ kind: "noop", payload }))),
    work: async (concurrency, handler) => {
      worker = queue.worker(({ task }) => handler(task.payload), { concurrency });
    },
    stop: async () => worker?.stop(),
  };
};
