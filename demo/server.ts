/** Starts the demo: `npm run demo`. PORT (default 8000), REDIS_URL and DEMO_TOKEN (default "demo") are read. */
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
const sse = createRedisSse({ redis: chosen.redis });
const queue = createQueue(sse);
const worker = startWorker(queue);
const app = createApp({ sse, queue, redis: chosen.label, token: process.env["DEMO_TOKEN"] || "demo" });
const server = createServer(app);

server.on("error", (error: NodeJS.ErrnoException) => {
  console.error(`cannot listen: ${error.code ?? error.message}. Choose another port with PORT=...`);
  void shutDown(1);
});
server.listen(Number(process.env["PORT"] ?? 8000), () => {
  const { port } = server.address() as AddressInfo;
  console.log(`Redis: ${chosen.label}`);
  console.log(`redis-sse demo: http://localhost:${port}/?user=alice (and, in another tab, ?user=bob)`);
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
