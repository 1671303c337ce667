import { Redis } from "ioredis";

import { redisUrl } from "./announce.js";

/** Clients by channel. Subscribes for the first client of a channel, and unsubscribes after the last. */
export interface Feed {
  /** Resolves when Redis has confirmed the subscription. */
  join(channel: string): Promise<void>;
  leave(channel: string): void;
}

/**
 * The code that an application needs to connect one of the other libraries to Redis. It uses one subscriber connection for
 * all channels and passes every message to the library.
 */
export function createFeed(deliver: (channel: string, data: string) => void): Feed {
  const subscriber = new Redis(redisUrl);
  const joined = new Map<string, { readers: number; readonly acknowledged: Promise<unknown> }>();
  subscriber.on("message", deliver);
  return {
    async join(channel) {
      let entry = joined.get(channel);
      if (entry === undefined) {
        entry = { readers: 0, acknowledged: subscriber.subscribe(channel) };
        joined.set(channel, entry);
      }
      entry.readers++;
      await entry.acknowledged;
    },
    leave(channel) {
      const entry = joined.get(channel);
      if (entry === undefined || --entry.readers > 0) return;
      joined.delete(channel);
      void subscriber.unsubscribe(channel);
    },
  };
}
