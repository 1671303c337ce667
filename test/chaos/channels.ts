import { Cluster } from "ioredis";

import { createRedisSse, type RedisSse, type RedisSseOptions } from "../../lib/index.js";
import type { Chance } from "./chance.js";
import type { RunOptions, SubscriptionMode } from "./options.js";

/** Channels whose history suffices for everything: no client is ever told a gap of them. */
export const CHANNELS: readonly string[] = Array.from({ length: 12 }, (_, index) => `channel-${index}`);

/** Channels that keep so little that who is away for a moment misses events, and has to be told. */
const TINY_CHANNELS: readonly string[] = ["tiny-0", "tiny-1"];
const TINY_LENGTH = 20;

/** Carries so much that a client which does not read falls behind. Few listen to it. */
export const LOUD_CHANNEL = "live-loud";

export function isTiny(channel: string): boolean {
  return channel.startsWith("tiny-");
}

/** Channels without history: what a stream misses while it is open has to be told. */
export function isLive(channel: string): boolean {
  return channel.startsWith("live-");
}

export function keepsEverything(channel: string): boolean {
  return !isTiny(channel) && !isLive(channel);
}

/** The channels of a run. */
export interface ChannelSet {
  readonly kept: readonly string[];
  readonly tiny: readonly string[];
  readonly live: readonly string[];
  readonly loud: readonly string[];
}

/** The soak in "shared" mode has no history at all. */
export function channelsOf({ harness, mode }: Pick<RunOptions, "harness" | "mode">): ChannelSet {
  const live = Array.from({ length: harness === "soak" ? 50 : 2 }, (_, index) => `live-${index}`);
  const loud = harness === "soak" ? [LOUD_CHANNEL] : [];
  return mode === "shared"
    ? { kept: [], tiny: [], live, loud }
    : { kept: CHANNELS, tiny: TINY_CHANNELS, live, loud };
}

export function allOf({ kept, tiny, live, loud }: ChannelSet): readonly string[] {
  return [...kept, ...tiny, ...live, ...loud];
}

/** What a client listens to. A live channel comes beside others, if there are any: only with these has it a place to come back to. */
export function chooseChannels(chance: Chance, { kept, tiny, live, loud }: ChannelSet): readonly string[] {
  const channels = new Set<string>();
  if (loud.length > 0 && chance.is(0.02)) for (const channel of loud) channels.add(channel);
  if (kept.length === 0) {
    const count = channels.size + (chance.is(0.2) ? chance.whole(2, 6) : 1);
    while (channels.size < count) channels.add(chance.oneOf(live));
    return [...channels];
  }
  // Of those that keep little, only with some clients: they are busy.
  if (chance.is(0.25)) channels.add(chance.oneOf(tiny));
  if (channels.size > 0 && chance.is(0.3)) for (const channel of tiny) channels.add(channel);
  const count = channels.size + chance.whole(1, 4);
  while (channels.size < count) channels.add(chance.oneOf(kept));
  if (chance.is(0.6)) channels.add(chance.oneOf(live));
  return [...channels];
}

/** Where Redis is, as it can be handed to a process: a URL, nodes of a cluster, or sentinels and their master. */
export type RedisAddress =
  | string
  | { readonly nodes: readonly { readonly host: string; readonly port: number }[] }
  | { readonly sentinels: { host: string; port: number }[]; readonly name: string };

/** The options of a service, as they can be handed to a process. */
export type ServiceOptions = Omit<RedisSseOptions, "clock" | "redis"> & { readonly redis: RedisAddress };

/**
 * All processes have to agree on the histories. What can wait is kept short, so that much happens in little time; the limits of
 * the soak are so small that it reaches them. There is none of a lifetime: it would end what is left behind before that is
 * looked for.
 */
export function serviceOptions(
  redis: RedisAddress,
  subscriptions: SubscriptionMode,
  { harness, mode, clients }: RunOptions,
): ServiceOptions {
  const common = {
    redis,
    subscriptions,
    heartbeatMs: 1_000,
    history:
      mode === "shared"
        ? (false as const)
        : {
            maxLength: 1_000_000,
            maxAgeMs: 7 * 24 * 3_600_000,
            checkMs: 2_000,
            channels: { "tiny-*": { maxLength: TINY_LENGTH }, "live-*": false as const },
          },
  };
  const limits = { maxReplayEvents: 1_000_000, closeTimeoutMs: 500 };
  if (harness === "chaos") {
    return {
      ...common,
      retryMs: 100,
      pool: { maxConnections: 2_000, maxWaiting: 2_000, acquireTimeoutMs: 2_000 },
      limits: { ...limits, subscribeTimeoutMs: 2_000 },
    };
  }
  return {
    ...common,
    retryMs: 1_000,
    pool: {
      maxConnections: maxLeases(clients),
      acquireTimeoutMs: 1_500,
      maxWaiting: Math.ceil(clients / 10),
    },
    limits: {
      ...limits,
      maxBufferedBytes: 128 * 1024,
      maxEventBytes: 64 * 1024,
      maxStallMs: 3_000,
      subscribeTimeoutMs: 1_500,
    },
  };
}

/** In the soak, fewer than there are clients, so that the pool is exhausted again and again. */
export function maxLeases(clients: number): number {
  return Math.min(Math.ceil(clients / 2), 250);
}

/** A service as an application would make it. */
export function createService({ redis, ...options }: ServiceOptions): RedisSse {
  if (typeof redis === "string" || "sentinels" in redis) return createRedisSse({ ...options, redis });
  // The library duplicates it, and leaves this one as it is: never connected.
  return createRedisSse({ ...options, redis: new Cluster([...redis.nodes], { lazyConnect: true }) });
}
