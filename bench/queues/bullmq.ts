/**
 * BullMQ with the settings that its documentation recommends. All queues and workers of a process share one connection, and
 * each worker has one more blocking connection. Workers use `maxRetriesPerRequest: null`. Finished jobs are kept, as by
 * default.
 */
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";

import type { OpenQueue, Payload } from "./queue.js";

let connection: Redis | null = null;

export const open: OpenQueue = async (url, name) => {
  connection ??= new Redis(url, { maxRetriesPerRequest: null });
  const shared = { connection };
  const queue = new Queue<Payload>(name, shared);
  await queue.waitUntilReady();
  let close: () => unknown = () => {};
  return {
    add: (payload) => queue.add("noop", payload),
    addBulk: (payloads) => queue.addBulk(payloads.map((data) => ({ name: "noop", data }))),
    work: async (concurrency, handler) => {
      const worker = new Worker<Payload>(name, async ({ data }) => handler(data), { ...shared, concurrency });
      close = () => worker.close();
    },
    stop: async () => void (await close()),
  };
};
