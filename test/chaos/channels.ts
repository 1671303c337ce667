import type { RedisSseOptions } from "../../lib/index.js";

/** Channels whose history suffices for everything: no client is ever told a gap of them. */
export const CHANNELS: readonly string[] = Array.from({ length: 12 }, (_, index) => `channel-${index}`);

/** Channels that keep so little that who is away for a moment misses events, and has to be told. */
export const TINY_CHANNELS: readonly string[] = ["tiny-0", "tiny-1"];

const TINY_LENGTH = 20;

export function isTiny(channel: string): boolean {
  return TINY_CHANNELS.includes(channel);
}

/** The options of a service, as they can be handed to a process. */
export type ServiceOptions = Omit<RedisSseOptions, "clock"> & { readonly redis: string };

/** All processes have to agree on the histories. What can wait is kept short, so that much happens in little time. */
export function serviceOptions(redis: string, subscriptions: "shared" | "dedicated"): ServiceOptions {
  return {
    redis,
    subscriptions,
    heartbeatMs: 1_000,
    retryMs: 100,
    history: {
      maxLength: 1_000_000,
      maxAgeMs: 7 * 24 * 3_600_000,
      checkMs: 2_000,
      channels: { "tiny-*": { maxLength: TINY_LENGTH } },
    },
    pool: { maxConnections: 2_000, maxWaiting: 2_000, acquireTimeoutMs: 2_000 },
    limits: { maxReplayEvents: 1_000_000, subscribeTimeoutMs: 2_000, closeTimeoutMs: 500 },
  };
}
