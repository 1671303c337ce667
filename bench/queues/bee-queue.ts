/**
 * Bee-Queue with the settings that its documentation recommends for speed. It sends no events and stores no jobs in memory.
 * Only workers have a blocking connection. Finished jobs are kept, as by default.
 */
import BeeQueue from "bee-queue";

import type { OpenQueue, Payload } from "./queue.js";

export const open: OpenQueue = async (url, name) => {
  const settings = { redis: url as never, getEvents: false, sendEvents: false, storeJobs: false };
  const queue = new BeeQueue<Payload>(name, { ...settings, isWorker: false });
  await queue.ready();
  let close: () => unknown = () => {};
  return {
    add: (payload) => queue.createJob(payload).save(),
    addBulk: async (payloads) => {
      const faults = await queue.saveAll(payloads.map((payload) => queue.createJob(payload)));
      for (const fault of faults.values()) throw fault;
    },
    work: async (concurrency, handler) => {
      const worker = new BeeQueue<Payload>(name, settings);
      close = () => worker.close();
      await worker.ready();
      worker.process(concurrency, async ({ data }) => handler(data));
    },
    stop: async () => void (await close()),
  };
};
