/**
 * A minimal queue of plain Redis commands. The producer uses HSET and LPUSH. The worker uses BLPOP, HGETALL and HSET, one
 * task at a time. Tasks are not acknowledged, so a crashed worker or a lost answer loses a task.
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
    // The loop ends when the connection closes and its commands fail.
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
      // Closing the connection ends the loop.
      stopped = work(blocking, handler).catch(() => {});
    },
    stop: async () => {
      blocking?.disconnect();
      blocking = null;
      await stopped;
    },
  };
};
