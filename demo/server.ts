/**
 * Starts the demo: `npm run demo`. Reads PORT (default 8000), HOST (default 127.0.0.1), REDIS_URL, DEMO_TOKEN (default
 * "demo") and SUBSCRIPTIONS ("shared" or "dedicated", default "shared").
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { createRedisSse } from "redis-sse";

import { createApp } from "./app.js";
import { chooseRedis } from "./choose-redis.js";
import { createQueue, startWorker } from "./demo-queue.js";

/** The whole end, streams included, takes less than 5 s; this is the net under it. */
const EXIT_DEADLINE_MS = 4_500;

const PARENT_CHECK_MS = 250;

const chosen = await chooseRedis();
const subscriptions = process.env["SUBSCRIPTIONS"] === "dedicated" ? "dedicated" : "shared";
const sse = createRedisSse({ redis: chosen.redis, subscriptions });
const queue = createQueue(sse);
const worker = startWorker(queue);
const app = createApp({ sse, queue, redis: chosen.label, token: process.env["DEMO_TOKEN"] || "demo" });
const server = createServer(app);
// Everybody who can reach the demo can change everything in it.
const host = process.env["HOST"] || "127.0.0.1";

server.on("error", (error: NodeJS.ErrnoException) => {
  console.error(
    `cannot listen: ${error.code ?? error.message}. Choose another address with PORT=... or HOST=...`,
  );
  void shutDown(1);
});
server.listen(Number(process.env["PORT"] ?? 8000), host, () => {
  const { port } = server.address() as AddressInfo;
  const name = ["127.0.0.1", "0.0.0.0", "::"].includes(host) ? "localhost" : host;
  console.log(`Redis: ${chosen.label}`);
  console.log(`redis-sse demo: http://${name}:${port}/?user=alice (and, in another tab, ?user=bob)`);
});

let ending = false;
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => void shutDown(0));
// `npm run` starts a shell, which dies of a SIGTERM without passing it on: its end is how this process learns.
if (process.env["npm_lifecycle_event"] === "demo") {
  const parent = process.ppid;
  setInterval(() => process.ppid !== parent && void shutDown(0), PARENT_CHECK_MS).unref();
}

/** Streams are told first, then everything is given back; the process ends because nothing is left. */
async function shutDown(exitCode: number): Promise<void> {
  if (ending) return;
  ending = true;
  process.exitCode = exitCode;
  setTimeout(() => process.exit(1), EXIT_DEADLINE_MS).unref();
  server.close();
  await Promise.all([sse.drain({ timeoutMs: 1_500, spreadMs: 300 }), worker.stop({ graceMs: 500 })]);
  await sse.close();
  server.closeAllConnections();
  await chosen.stop();
}
