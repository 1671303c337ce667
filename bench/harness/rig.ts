import type { Target } from "../targets/catalog.js";
import { LoadClient, type LoadOptions, type LoadResult } from "./load.js";
import type { RedisServer } from "./redis.js";
import type { Server } from "./server.js";
import { startPublisher, startServer, type Publisher } from "./start.js";

/** A server under test, with what feeds it and what loads it. */
export interface Rig {
  readonly server: Server;
  readonly redis: RedisServer;
  readonly open: (options: Shape) => Promise<{ client: LoadClient; opened: LoadResult }>;
}

/** What a scenario says of the load; where it goes, the rig knows. */
export type Shape = Omit<LoadOptions, "port" | "publishPort" | "prefix">;

/** Starts a target on an empty Redis, and ends all of it again, whatever happens. */
export async function withRig<Figures>(
  target: Target,
  redis: RedisServer,
  use: (rig: Rig) => Promise<Figures>,
  options: Readonly<Record<string, unknown>> = {},
): Promise<Figures> {
  await redis.admin.flushall();
  const server = await startServer(target, redis, options);
  let publisher: Publisher | null = null;
  const clients: LoadClient[] = [];
  try {
    const { port: publishPort } = (publisher = await startPublisher(target, redis, server));
    const open = async (shape: Shape): Promise<{ client: LoadClient; opened: LoadResult }> => {
      const loaded = await LoadClient.open({
        ...shape,
        port: server.port,
        publishPort,
        prefix: target.prefix,
      });
      clients.push(loaded.client);
      return loaded;
    };
    return await use({ server, redis, open });
  } finally {
    for (const client of clients) await client.end();
    await publisher?.stop();
    await server.stop();
  }
}

/** Opens and uses some streams that leave again, so that what is measured is code that has run before. */
export async function warmUp(rig: Rig, { streams, channels, window }: Shape): Promise<void> {
  const { client } = await rig.open({
    streams: Math.min(100, streams),
    channels: Math.min(100, channels),
    window,
  });
  await client.run({ events: 200, seconds: 1 });
  await client.end();
}
