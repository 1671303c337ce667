import { isDeepStrictEqual } from "node:util";

import { fail } from "./checks.js";
import { until } from "./patience.js";
import type { World } from "./world.js";

/** What is there when no client is: awaited again when all have left. */
export interface Baseline {
  readonly connections: readonly string[];
  readonly resources: Readonly<Record<string, number>>;
}

/** What a fault leaves for a while: ioredis keeps a timer of 5 s of a connection that was refused. */
const TRACES_MS = 30_000;

/** Remembers what there is once it is at rest. */
export function rememberBaseline(world: World): Promise<Baseline> {
  return until("the app comes to rest", async () => {
    const { sessions } = await world.app.ask("status");
    if (sessions.open !== 0 || (await world.server.activeChannels()).length > 0) fail("it is not at rest");
    const baseline = await look(world);
    if (!isDeepStrictEqual(baseline, await look(world))) fail("it is not at rest");
    return baseline;
  });
}

/** All clients have left: the app holds nothing of them, and everything is as it was. */
export function expectBaseline(world: World, baseline: Baseline): Promise<void> {
  return until(
    "everything is as before",
    async () => {
      const { sessions, pool, hub, channels } = await world.app.ask("status");
      const held = { open: sessions.open, inUse: pool.inUse, waiting: pool.waiting, hub: hub.channels };
      if (Object.values(held).some((count) => count !== 0)) fail(`the app holds ${JSON.stringify(held)}`);
      if (pool.leases.length > 0) fail(`there are leases: ${JSON.stringify(pool.leases)}`);
      if (channels.length > 0) fail(`there are channels: ${channels.join(" ")}`);
      const active = await world.server.activeChannels();
      if (active.length > 0) fail(`channels are subscribed: ${active.join(" ")}`);
      const now = await look(world);
      if (!isDeepStrictEqual(now, baseline))
        fail(`there is ${JSON.stringify(now)} in place of ${JSON.stringify(baseline)}`);
      const ended = Object.values(sessions.closed).reduce((sum, count) => sum + count, 0);
      if (sessions.opened !== ended) fail(`${sessions.opened} sessions were opened, and ${ended} closed`);
    },
    TRACES_MS,
  );
}

async function look({ server, app }: World): Promise<Baseline> {
  const names = await server.connections();
  const { Immediate: _, ...resources } = (await app.ask("look")).resources;
  return { connections: names.filter((name) => name.startsWith("redis-sse:")).toSorted(), resources };
}
