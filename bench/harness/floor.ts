import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { startProgram, stop } from "./children.js";
import { dist } from "./paths.js";
import type { RedisServer } from "./redis.js";
import { outsideView, type Server } from "./server.js";

/** The cheapest server that there could be, in C: what no library can go below. */
export async function startFloor(redis: RedisServer): Promise<Server> {
  const child = startProgram(join(dist, "floor"), [String(redis.port)]);
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  return {
    port: Number(line),
    ...outsideView([child.pid!]),
    stop: () => stop(child),
  };
}
