import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { BASE } from "../harness/base.js";
import { makeFolder } from "../harness/folders.js";
import type { LoadResult } from "../harness/load.js";
import type { RedisServer } from "../harness/redis.js";
import { warmUp, withRig } from "../harness/rig.js";
import type { Server } from "../harness/server.js";
import { ours, oursWithHistory, type Target } from "../targets/catalog.js";
import { beAway } from "./reconnect.js";

/** Large events on one channel. */
export interface LargeEvents {
  readonly streams: number;
  readonly events: number;
  readonly size: number;
}

/** Streams that connect at once. */
export interface Storm {
  readonly streams: number;
  /** Used if the clients have missed events. */
  readonly channels: number;
  /** Events of each channel. */
  readonly missed: number;
}

/** Streams that are evenly spread over channels. */
export interface Channels {
  readonly streams: number;
  readonly channels: number;
}

/** A server, and the events that its clients have missed. */
export interface StormEntry extends Target {
  readonly channels: number;
  readonly missed: number;
}

export interface SmoothFigures {
  /** Longest event-loop delay of the server process: the time in which it could do nothing else. */
  readonly longestDelayMs: number;
  /** Until the last stream has everything. */
  readonly ms: number;
  readonly cpuMs: number;
}

const isOurs = ({ name }: Target): boolean => name === ours.name || name === BASE;

/** With rules, each stream has its own copy of each event. */
export function withRules(targets: readonly Target[]): readonly Target[] {
  return targets.filter(isOurs).map((target) => ({ ...target, options: { rules: true } }));
}

/** Every server with new clients. Then redis-sse with clients that missed events, on one channel and on many. */
export function stormsOf(targets: readonly Target[], { channels, missed }: Storm): readonly StormEntry[] {
  const { fedBy, prefix } = oursWithHistory;
  return [
    ...targets.map((target) => ({ ...target, channels: 1, missed: 0 })),
    ...[1, channels].flatMap((count) =>
      targets.filter(isOurs).map((target) => ({
        ...target,
        name: `${target.name}-missed-${count}`,
        label: `${target.label}, ${missed} missed events, ${count.toLocaleString("en")} channel${count === 1 ? "" : "s"}`,
        fedBy,
        prefix,
        channels: count,
        missed,
      })),
    ),
  ];
}

/** Clients of redis-sse that missed events of their own channels, whose histories are long. */
export function resumesOf(targets: readonly Target[], { channels, missed }: Storm): readonly StormEntry[] {
  const { fedBy } = oursWithHistory;
  return targets.filter(isOurs).map((target) => ({ ...target, fedBy, prefix: "long:", channels, missed }));
}

/** The channels have a history. */
export function withHistory(targets: readonly Target[]): readonly Target[] {
  const { fedBy, prefix } = oursWithHistory;
  return targets.filter(isOurs).map((target) => ({ ...target, fedBy, prefix }));
}

export function measureLargeEvents(
  target: Target,
  { streams, events, size }: LargeEvents,
  settleMs: number,
  redis: RedisServer,
): Promise<SmoothFigures> {
  const shape = { streams, channels: 1, window: events, size };
  return withRig(target, redis, async (rig) => {
    await warmUp(rig, shape);
    const { client } = await rig.open(shape);
    await sleep(settleMs);
    const finish = await watch(rig.server);
    return finish(await client.run({ events, seconds: 0 }));
  });
}

export function measureStorm(
  target: StormEntry,
  streams: number,
  settleMs: number,
  redis: RedisServer,
): Promise<SmoothFigures> {
  const { channels, missed, prefix } = target;
  const shape = { streams, channels, window: Math.max(32, channels) };
  return withRig(target, redis, async (rig) => {
    if (missed === 0) await warmUp(rig, shape);
    const cursors = missed === 0 ? null : join(makeFolder(), "cursors");
    if (cursors !== null) {
      // The cursor of each channel is its first event.
      const first = await rig.open({ ...shape, streams: Math.max(100, channels) });
      await first.client.run({ events: channels, seconds: 0 });
      await first.client.end();
      await beAway({ prefix, channels, events: missed, file: cursors }, redis);
    }
    await sleep(settleMs);
    const finish = await watch(rig.server);
    const { client, opened } = await rig.open({
      ...shape,
      connecting: streams,
      ...(cursors !== null && { cursors, expect: missed }),
    });
    const figures = await finish(opened);
    // Rejects unless each stream is live and its events are in order.
    await client.run({ events: channels, seconds: 0 });
    return figures;
  });
}

/** Redis drops all connections, and takes new ones at once. Then each stream finds out what it has missed. */
export function measureBack(
  target: Target,
  { streams, channels }: Channels,
  settleMs: number,
  redis: RedisServer,
): Promise<SmoothFigures> {
  return withRig(target, redis, async ({ server, open }) => {
    const { client } = await open({ streams, channels, window: channels });
    await client.run({ events: channels, seconds: 0 });
    await sleep(settleMs);
    const finish = await watch(server);
    const startedAt = performance.now();
    for (const type of ["pubsub", "normal"] as const) await redis.admin.call("CLIENT", "KILL", "TYPE", type);
    while ((await subscribedChannels(redis, target.prefix)) < channels) await sleep(10);
    const seconds = (performance.now() - startedAt) / 1000;
    await sleep(settleMs);
    const figures = await finish({ seconds });
    // Rejects unless each stream is live and its events are in order.
    await client.run({ events: channels, seconds: 0 });
    return figures;
  });
}

async function subscribedChannels({ admin }: RedisServer, prefix: string): Promise<number> {
  return ((await admin.pubsub("CHANNELS", `${prefix}*`)) as readonly string[]).length;
}

/** Starts to measure. Call the result when the load is done. */
async function watch(server: Server): Promise<(load: Pick<LoadResult, "seconds">) => Promise<SmoothFigures>> {
  await server.watchDelay();
  const cpuBefore = await server.cpuUs();
  return async ({ seconds }) => {
    const cpuMs = ((await server.cpuUs()) - cpuBefore) / 1000;
    return { longestDelayMs: await server.longestDelayMs(), ms: seconds * 1000, cpuMs };
  };
}
