import { setTimeout as sleep } from "node:timers/promises";

import type { LoadClient } from "../harness/load.js";
import { connectionsOf } from "../harness/proc.js";
import type { RedisServer } from "../harness/redis.js";
import { warmUp, withRig, type Rig, type Shape } from "../harness/rig.js";
import type { Target } from "../targets/catalog.js";

/** The cost of open streams. */
export interface OpeningFigures {
  /** Resident size. */
  readonly kbPerConnection: number;
  /** Used part of the JavaScript heap. 0 for servers that do not run in Node. */
  readonly heapKbPerConnection: number;
  readonly cpuUsPerConnect: number;
  readonly redisConnections: number;
}

/** The cost of connects, before and after Node has compiled the code. */
export interface ConnectFigures {
  readonly cpuUsPerConnect: number;
  /** CPU time per connect of the first streams. It includes the time in which Node compiles the code. */
  readonly firstCpuUsPerConnect: number;
}

/** Number of times that all streams open. The last one is reported. */
const OPENINGS = 4;
/** Pause in which the server releases the closed streams. */
const LEAVING_MS = 1_500;

/** Opens all streams several times, and publishes nothing. */
export function measureConnecting(
  target: Target,
  shape: Shape,
  settleMs: number,
  redis: RedisServer,
): Promise<ConnectFigures> {
  return withRig(target, redis, async (rig) => {
    await warmUp(rig, shape);
    const costs: number[] = [];
    for (let opening = 0; opening < OPENINGS; opening++) {
      await sleep(opening === 0 ? settleMs : LEAVING_MS);
      // A garbage collection, as in `measureOpening()`, nearly doubles the cost: Node seems to drop what it has compiled.
      const cpuBefore = await rig.server.cpuUs();
      const { client } = await rig.open(shape);
      costs.push((await rig.server.cpuUs()) - cpuBefore);
      await client.end();
    }
    const [first, last] = [costs[0]!, costs.at(-1)!];
    return { cpuUsPerConnect: last / shape.streams, firstCpuUsPerConnect: first / shape.streams };
  });
}

/** Opens streams on a server that has run before, and publishes nothing. */
export function measureMemory(
  target: Target,
  shape: Shape,
  settleMs: number,
  redis: RedisServer,
): Promise<OpeningFigures> {
  return withRig(target, redis, async (rig) => {
    await warmUp(rig, shape);
    const { client: _, ...figures } = await measureOpening(rig, shape, settleMs);
    return figures;
  });
}

export async function measureOpening(
  { server, redis, open }: Rig,
  shape: Shape,
  settleMs: number,
): Promise<OpeningFigures & { client: LoadClient }> {
  const { streams } = shape;
  await sleep(settleMs);
  const memoryBefore = await server.memoryKb();
  const heapBefore = await server.heapKb();
  const cpuBefore = await server.cpuUs();
  const { client } = await open(shape);
  const cpuAfter = await server.cpuUs();
  await sleep(settleMs);
  const memoryAfter = await server.memoryKb();
  const heapAfter = await server.heapKb();
  const connections = server.pids.map((pid) => connectionsOf(pid, redis.port));
  return {
    client,
    cpuUsPerConnect: (cpuAfter - cpuBefore) / streams,
    kbPerConnection: (memoryAfter - memoryBefore) / streams,
    heapKbPerConnection: (heapAfter - heapBefore) / streams,
    redisConnections: connections.reduce((sum, count) => sum + count),
  };
}
