/**
 * The commands of the application that this library began with: HSET and LPUSH; BLPOP, HGETALL and HSET, one task at a
 * time. Nothing is acknowledged: a worker that dies, or an answer that is lost, is a task that is lost.
 */
import { randomUUID } from "node:crypto";

import { Redis } from "ioredis";

import type { OpenQueue, Payload } from "./queue.js";

let shared: Redis | null = null;

export const open: OpenQueue = async (url, name) => {
  const redis = (shared ??= new Redis(url));
  let blocking: Redis | null = null;
  let stopped: Promise<void> | null = null;

  const work = async (from: Redis, handler: (payload: Payload) => void): Promise<void> => {
    for (;;) {
      const id = (await from.blpop(`ready:${name}`, 5))?.[1];
      if (id === undefined) continue;
      const task = await redis.hgetall(`task:${id}`);
      handler(JSON.parse(task["payload"]!) as Payload);
      await redis.hset(`task:${id}`, "status", "done");
    }
  };
  return {
    add: (payload) => {
      const id = randomUUID();
      redis
        .hset(`task:${id}`, "kind", "noop", "payload", JSON.stringify(payload), "status", "queued")
        .catch(() => {});
      return redis.lpush(`ready:${name}`, id);
    },
    work: async (_concurrency, handler) => {
      blocking = redis.duplicate();
      // Its end is that of its connection.
      stopped = work(blocking, handler).catch(() => {});
    },
    stop: async () => {
      blocking?.disconnect();
      blocking = null;
      await stopped;
    },
  };
};
