/**
 * Starts the demo: `npm run demo`. Environment variables: PORT (default 8000), HOST (default 127.0.0.1), REDIS_URL,
 * DEMO_TOKEN (default "demo") and SUBSCRIPTIONS ("shared" or "dedicated", default "shared").
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { ConfigError, createRedisSse, type RedisSse } from "redis-sse";

import { createApp } from "./app.js";
import { chooseRedis } from "./choose-redis.js";
import { createQueue, startWorker } from "./demo-queue.js";

/** Exits by force if a graceful shutdown takes longer. */
const EXIT_DEADLINE_MS = 4_500;

const PARENT_CHECK_MS = 250;

const port = readPort();
const chosen = await chooseRedis();
const sse = createService();
const queue = createQueue(sse);
const worker = startWorker(queue);
const app = createApp({ sse, queue, redis: chosen.label, token: process.env["DEMO_TOKEN"] || "demo" });
const server = createServer(app);
// The demo has no login, so by default only this machine can reach it.
const host = process.env["HOST"] || "127.0.0.1";

server.on("error", (error: NodeJS.ErrnoException) => {
  console.error(
    `Cannot listen on ${host}:${port}: ${error.code ?? error.message}. Set PORT or HOST to another address.`,
  );
  void shutDown(1);
});
server.listen(port, host, () => {
  const address = server.address() as AddressInfo;
  const name = ["127.0.0.1", "0.0.0.0", "::"].includes(host) ? "localhost" : host;
  console.log(`Redis: ${chosen.label}`);
  console.log(`redis-sse demo: http://${name}:${address.port}/?user=alice (open ?user=bob in another tab)`);
});

let ending = false;
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => void shutDown(0));
// `npm run` starts a shell that does not forward SIGTERM. The demo therefore stops when its parent process exits.
if (process.env["npm_lifecycle_event"] === "demo") {
  const parent = process.ppid;
  setInterval(() => process.ppid !== parent && void shutDown(0), PARENT_CHECK_MS).unref();
}

function readPort(): number {
  const text = process.env["PORT"] || "8000";
  const number = Number(text);
  if (Number.isInteger(number) && number >= 0 && number <= 65_535) return number;
  exitWith(`Invalid PORT "${text}": use a whole number from 0 to 65535.`);
}

function createService(): RedisSse {
  const subscriptions = process.env["SUBSCRIPTIONS"] === "dedicated" ? "dedicated" : "shared";
  try {
    return createRedisSse({ redis: chosen.redis, subscriptions });
  } catch (error) {
    if (!(error instanceof ConfigError) || !process.env["REDIS_URL"]) throw error;
    // The URL can contain a password, so the message does not repeat it.
    exitWith("Invalid REDIS_URL: use redis://[user:password@]host[:port][/db], or rediss:// for TLS.");
  }
}

function exitWith(message: string): never {
  console.error(message);
  process.exit(1);
}

/** Closes the streams first, then the service and the server. The process then exits by itself. */
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
