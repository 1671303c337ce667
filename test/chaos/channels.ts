import type { RedisSseOptions } from "../../lib/index.js";
import type { RedisAddress } from "./redis-address.js";

/** Channels whose history suffices for everything: no client is ever told a gap of them. */
export const CHANNELS: readonly string[] = Array.from({ length: 12 }, (_, index) => `channel-${index}`);

/** Channels that keep so little that who is away for a moment misses events, and has to be told. */
export const TINY_CHANNELS: readonly string[] = ["tiny-0", "tiny-1"];

/** Channels without history: what a stream misses while it is open has to be told. */
export const LIVE_CHANNELS: readonly string[] = ["live-0", "live-1"];

export const ALL_CHANNELS: readonly string[] = [...CHANNELS, ...TINY_CHANNELS, ...LIVE_CHANNELS];

const TINY_LENGTH = 20;

export function isTiny(channel: string): boolean {
  return TINY_CHANNELS.includes(channel);
}

export function isLive(channel: string): boolean {
  return LIVE_CHANNELS.includes(channel);
}

export function keepsEverything(channel: string): boolean {
  return !isTiny(channel) && !isLive(channel);
}

/** The options of a service, as they can be handed to a process. */
export type ServiceOptions = Omit<RedisSseOptions, "clock" | "redis"> & { readonly redis: RedisAddress };

/** All processes have to agree on the histories. What can wait is kept short, so that much happens in little time. */
export function serviceOptions(redis: RedisAddress, subscriptions: "shared" | "dedicated"): ServiceOptions {
  return {
    redis,
    subscriptions,
    heartbeatMs: 1_000,
    retryMs: 100,
    history: {
      maxLength: 1_000_000,
      maxAgeMs: 7 * 24 * 3_600_000,
      checkMs: 2_000,
      channels: { "tiny-*": { maxLength: TINY_LENGTH }, "live-*": false },
    },
    pool: { maxConnections: 2_000, maxWaiting: 2_000, acquireTimeoutMs: 2_000 },
    limits: { maxReplayEvents: 1_000_000, subscribeTimeoutMs: 2_000, closeTimeoutMs: 500 },
  };
}
