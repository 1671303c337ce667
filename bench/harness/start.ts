import { join } from "node:path";

import type { Target } from "../targets/catalog.js";
import { portOf, startScript, stop } from "./children.js";
import { startFloor } from "./floor.js";
import { startNchan } from "./nchan.js";
import { dist } from "./paths.js";
import { createQuestions } from "./questions.js";
import type { RedisServer } from "./redis.js";
import type { Server } from "./server.js";

export async function startServer(
  target: Target,
  redis: RedisServer,
  options: Readonly<Record<string, unknown>> = {},
): Promise<Server> {
  if ("script" in target.runs) {
    return startNode(target, target.runs.script, redis, { ...target.options, ...options });
  }
  return target.runs.program === "floor" ? startFloor(redis) : startNchan();
}

async function startNode(
  { folder = dist }: Target,
  script: string,
  redis: RedisServer,
  options: Readonly<Record<string, unknown>>,
): Promise<Server> {
  const child = startScript(join(folder, script), {
    BENCH_REDIS_URL: redis.url,
    BENCH_OPTIONS: JSON.stringify(options),
  });
  const port = await portOf(child);
  const ask = createQuestions(child, script);
  return {
    port,
    pids: [child.pid!],
    cpuUs: async () => Number(await ask("cpu")),
    memoryKb: async () => Number(await ask("memory")),
    heapKb: async () => Number(await ask("heap")),
    watchDelay: async () => void (await ask("watch-delay")),
    longestDelayMs: async () => Number(await ask("delay")),
    status: () => ask("status"),
    stop: () => stop(child),
  };
}

/** What feeds the server: the port that takes PUBLISH. */
export interface Publisher {
  readonly port: number;
  stop(): Promise<void>;
}

export async function startPublisher(target: Target, redis: RedisServer, server: Server): Promise<Publisher> {
  if (target.fedBy === "redis") return { port: redis.port, stop: async () => {} };
  const script = `publishers/${target.fedBy}.js`;
  const child = startScript(join(target.folder ?? dist, script), {
    BENCH_REDIS_URL: redis.url,
    BENCH_SERVER_PORT: String(server.port),
  });
  return { port: await portOf(child), stop: () => stop(child) };
}
