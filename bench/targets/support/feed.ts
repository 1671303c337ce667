import { Redis } from "ioredis";

import { redisUrl } from "./announce.js";

/** Who listens to which channel; subscribes for the first, unsubscribes after the last. */
export interface Feed {
  /** Resolves when Redis has acknowledged the channel. */
  join(channel: string): Promise<void>;
  leave(channel: string): void;
}

/**
 * What an application writes that puts one of the peers behind Redis: one subscriber connection for all channels,
 * and every message handed to the peer.
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
