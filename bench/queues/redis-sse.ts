/** redis-sse with its defaults: leases, retries and kept results. All queues use one service. */
import { createRedisSse } from "redis-sse";

import type { OpenQueue, Payload } from "./queue.js";

const services = new Map<string, ReturnType<typeof createRedisSse>>();

export const open: OpenQueue = async (url, name) => {
  const service = services.get(url) ?? createRedisSse({ redis: url });
  services.set(url, service);
  const queue = service.queue<{ noop: Payload }>(name);
  let stop = async (): Promise<void> => {};
  return {
    add: (payload) => queue.enqueue("noop", payload),
    addBulk: (payloads) => queue.enqueueMany(payloads.map((payload) => ({ kind: "noop", payload }))),
    work: async (concurrency, handler) => {
      const worker = queue.worker(({ task }) => handler(task.payload), { concurrency });
      stop = () => worker.stop();
    },
    stop: () => stop(),
  };
};
