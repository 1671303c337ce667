import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { startScript } from "../harness/children.js";
import { makeFolder } from "../harness/folders.js";
import { dist } from "../harness/paths.js";
import type { RedisServer } from "../harness/redis.js";
import { withRig } from "../harness/rig.js";
import type { Absence } from "../publishers/missed-events.js";
import { oursWithHistory } from "../targets/catalog.js";

export interface Reconnect {
  readonly streams: number;
  readonly channels: number;
  /** Of each channel. */
  readonly missed: number;
}

export interface ReconnectFigures {
  /** From the first connection until the last stream has got everything it had missed. */
  readonly ms: number;
  readonly eventsPerSecond: number;
  readonly cpuUsPerEvent: number;
  /** Reads of Redis, and those that were spared since another stream's was shared. */
  readonly reads: number;
  readonly shared: number;
}

/** All streams drop, miss events, and come back at once, each with the cursor it had. */
export function measureReconnect(reconnect: Reconnect, redis: RedisServer): Promise<ReconnectFigures> {
  const { streams, channels, missed } = reconnect;
  const file = join(makeFolder(), "cursors");
  const shape = { streams, channels, window: Math.max(32, channels) };
  return withRig(oursWithHistory, redis, async ({ server, open }) => {
    const first = await open(shape);
    await first.client.run({ events: channels, seconds: 0 });
    await first.client.end();
    await beAway({ prefix: oursWithHistory.prefix, channels, events: missed, file }, redis);
    await sleep(500);

    const readsBefore = (await server.status()) as { reads: number; shared: number };
    const cpuBefore = await server.cpuUs();
    const { client, opened } = await open({ ...shape, cursors: file, expect: missed, connecting: streams });
    const cpuAfter = await server.cpuUs();
    const readsAfter = (await server.status()) as { reads: number; shared: number };
    // Live, and in order behind what was replayed: else this rejects.
    await client.run({ events: channels, seconds: 0 });
    return {
      ms: opened.seconds * 1000,
      eventsPerSecond: opened.deliveries / opened.seconds,
      cpuUsPerEvent: (cpuAfter - cpuBefore) / opened.deliveries,
      reads: readsAfter.reads - readsBefore.reads,
      shared: readsAfter.shared - readsBefore.shared,
    };
  });
}

/** Writes the cursor of each channel to a file, and then publishes the events that the clients miss. */
export async function beAway(absence: Absence, redis: RedisServer): Promise<void> {
  const child = startScript(join(dist, "publishers/missed-events.js"), {
    BENCH_REDIS_URL: redis.url,
    BENCH_ABSENCE: JSON.stringify(absence),
  });
  const exited = once(child, "exit");
  const [code] = (await exited) as [number | null];
  if (code !== 0) throw new Error(`publishing what was missed ended with ${code}`);
}
