import { setTimeout as sleep } from "node:timers/promises";

import { LoadClient, type LoadOptions, type LoadResult } from "../harness/load.js";
import type { RedisServer } from "../harness/redis.js";
import { connectionsOf } from "../harness/proc.js";
import { startPublisher, startServer, type Publisher } from "../harness/start.js";
import type { Target } from "../targets/catalog.js";

/** Streams on channels, with a number of events under way: what is asked of a server. */
export interface FanOut {
  readonly streams: number;
  readonly channels: number;
  readonly window: number;
}

/** For how long. A server in Node is slow until its code is compiled: nothing of the warm-up is counted. */
export interface Durations {
  readonly warmUpSeconds: number;
  readonly seconds: number;
  readonly settleMs: number;
}

/** One run of one server. */
export interface FanOutFigures {
  /** Server CPU for one event written to one client: the figure that decides. */
  readonly cpuUsPerDelivery: number;
  readonly deliveriesPerSecond: number;
  readonly deliveries: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly kbPerConnection: number;
  readonly cpuUsPerConnect: number;
  readonly redisConnections: number;
  /** The load client's own, to compare with the server's. */
  readonly clientCpuUsPerDelivery: number;
}

/** Rejects with `VoidRun` when not every stream got every event once and in order. */
export async function measureFanOut(
  target: Target,
  { streams, channels, window }: FanOut,
  durations: Durations,
  redis: RedisServer,
): Promise<FanOutFigures> {
  await redis.admin.flushall();
  const server = await startServer(target, redis);
  let publisher: Publisher | null = null;
  try {
    publisher = await startPublisher(target, redis, server);
    const common = { port: server.port, publishPort: publisher.port, prefix: target.prefix, window };
    await warmUp({ ...common, streams: Math.min(100, streams), channels: Math.min(100, channels) });
    await sleep(durations.settleMs);

    const memoryBefore = await server.memoryKb();
    const cpuBefore = await server.cpuUs();
    const { client } = await LoadClient.open({ ...common, streams, channels });
    const cpuOpened = await server.cpuUs();
    await sleep(durations.settleMs);
    const memoryOpened = await server.memoryKb();
    const connections = server.pids.map((pid) => connectionsOf(pid, redis.port));

    await client.run({ seconds: durations.warmUpSeconds });
    const cpuStart = await server.cpuUs();
    const result = await client.run({ seconds: durations.seconds });
    const cpuEnd = await server.cpuUs();
    await client.end();
    return {
      ...rates(result),
      cpuUsPerDelivery: (cpuEnd - cpuStart) / result.deliveries,
      kbPerConnection: (memoryOpened - memoryBefore) / streams,
      cpuUsPerConnect: (cpuOpened - cpuBefore) / streams,
      redisConnections: connections.reduce((sum, count) => sum + count),
    };
  } finally {
    await publisher?.stop();
    await server.stop();
  }
}

/** Opens and uses some streams that leave again, so that what is measured is code that has run before. */
async function warmUp(options: LoadOptions): Promise<void> {
  const { client } = await LoadClient.open(options);
  await client.run({ events: 200, seconds: 1 });
  await client.end();
}

function rates(
  result: LoadResult,
): Pick<FanOutFigures, "deliveriesPerSecond" | "deliveries" | "p50Us" | "p99Us" | "clientCpuUsPerDelivery"> {
  const { deliveries, seconds, p50Us, p99Us, cpuUs } = result;
  return {
    deliveries,
    deliveriesPerSecond: deliveries / seconds,
    p50Us,
    p99Us,
    clientCpuUsPerDelivery: cpuUs / deliveries,
  };
}
