import { once } from "node:events";
import { connect, type Socket } from "node:net";

import { peakMemoryOf } from "../harness/proc.js";
import type { RedisServer } from "../harness/redis.js";
import { withRig } from "../harness/rig.js";
import type { Target } from "../targets/catalog.js";

export interface Stalled {
  readonly readers: number;
  readonly events: number;
  readonly size: number;
}

export interface StalledFigures {
  readonly memoryBeforeMb: number;
  /** The most that the server had meanwhile. */
  readonly memoryPeakMb: number;
  readonly growthMb: number;
  /** Events that the one that reads has got. */
  readonly delivered: number;
}

/** Some who never read, and one that does, on one channel: who is slow must cost neither memory nor the others. */
export function measureStalled(
  target: Target,
  { readers, events, size }: Stalled,
  redis: RedisServer,
): Promise<StalledFigures> {
  return withRig(target, redis, async ({ server, open }) => {
    const { client } = await open({ streams: 1, channels: 1, window: 32, size });
    const path = `/stream?channel=${target.prefix}0`;
    const sockets = await Promise.all(Array.from({ length: readers }, () => openStalled(server.port, path)));
    try {
      const before = await server.memoryKb();
      const result = await client.run({ events, seconds: 0 });
      const peak = server.pids.reduce((sum, pid) => sum + peakMemoryOf(pid), 0);
      return {
        memoryBeforeMb: before / 1024,
        memoryPeakMb: peak / 1024,
        growthMb: (peak - before) / 1024,
        delivered: result.deliveries,
      };
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });
}

/** Resolves when the stream is open; from then on nothing is read of it. */
async function openStalled(port: number, path: string): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1" });
  socket.on("error", () => {}); // it may be dropped: that is the point
  socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n`);
  await once(socket, "data");
  return socket.pause();
}
