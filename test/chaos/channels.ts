import { Cluster } from "ioredis";

import { createRedisSse, type RedisSse, type RedisSseOptions } from "../../lib/index.js";
import type { Chance } from "./chance.js";
import type { RunOptions, SubscriptionMode } from "./options.js";

/** Channels with a history that is long enough for every client. Clients get no gaps of them. */
export const CHANNELS: readonly string[] = Array.from({ length: 12 }, (_, index) => `channel-${index}`);

/** Channels with a very short history. A client that is disconnected for a moment misses events and gets a gap. */
const TINY_CHANNELS: readonly string[] = ["tiny-0", "tiny-1"];
const TINY_LENGTH = 20;

/** Has so many events that a client which does not read falls behind. Few clients use it. */
export const LOUD_CHANNEL = "live-loud";

export function isTiny(channel: string): boolean {
  return channel.startsWith("tiny-");
}

/** Channels without history. If an open stream misses an event, it must get a gap. */
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

/** The soak in "shared" mode uses only channels without history. */
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

/**
 * Chooses the channels of a client. A live channel is combined with channels that have history, if there are any,
 * because only they let the client resume.
 */
export function chooseChannels(chance: Chance, { kept, tiny, live, loud }: ChannelSet): readonly string[] {
  const channels = new Set<string>();
  if (loud.length > 0 && chance.is(0.02)) for (const channel of loud) channels.add(channel);
  if (kept.length === 0) {
    const count = channels.size + (chance.is(0.2) ? chance.whole(2, 6) : 1);
    while (channels.size < count) channels.add(chance.oneOf(live));
    return [...channels];
  }
  // Only some clients get tiny channels, because these channels are busy.
  if (chance.is(0.25)) channels.add(chance.oneOf(tiny));
  if (channels.size > 0 && chance.is(0.3)) for (const channel of tiny) channels.add(channel);
  const count = channels.size + chance.whole(1, 4);
  while (channels.size < count) channels.add(chance.oneOf(kept));
  if (chance.is(0.6)) channels.add(chance.oneOf(live));
  return [...channels];
}

/**
 * Address of Redis, in a form that can be sent to a process: a URL, the nodes of a cluster, or Sentinels and their
 * master.
 */
export type RedisAddress =
  | string
  | { readonly nodes: readonly { readonly host: string; readonly port: number }[] }
  | { readonly sentinels: { host: string; port: number }[]; readonly name: string };

/** Options of a service, in a form that can be sent to a process. */
export type ServiceOptions = Omit<RedisSseOptions, "clock" | "redis"> & { readonly redis: RedisAddress };

/**
 * All processes must agree on the histories. Timeouts are short, so that much happens in little time. The limits of
 * the soak are small enough to be reached. The lifetime is unlimited, because a limit would close leaked streams before
 * the check.
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

/** In the soak, the pool is smaller than the number of clients, so that it is exhausted again and again. */
export function maxLeases(clients: number): number {
  return Math.min(Math.ceil(clients / 2), 250);
}

/** Creates a service as an application does. */
export function createService({ redis, ...options }: ServiceOptions): RedisSse {
  if (typeof redis === "string" || "sentinels" in redis) return createRedisSse({ ...options, redis });
  // The library duplicates this client and never connects it.
  return createRedisSse({ ...options, redis: new Cluster([...redis.nodes], { lazyConnect: true }) });
}
