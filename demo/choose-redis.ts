import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { access, constants, mkdtemp, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";

import type { RedisSource } from "redis-sse";

export interface ChosenRedis {
  readonly redis: RedisSource;
  /** Describes the server, without credentials. */
  readonly label: string;
  /** Stops the Redis server if the demo started it. */
  stop(): Promise<void>;
}

/** Uses `REDIS_URL`. Without it, starts a Redis server found on the PATH. Without that, uses ioredis-mock. */
export async function chooseRedis(): Promise<ChosenRedis> {
  const url = process.env["REDIS_URL"];
  if (url) return { redis: url, label: `${withoutCredentials(url)} (from REDIS_URL)`, stop: async () => {} };
  for (const name of ["redis-server", "valkey-server"]) {
    const program = await findOnPath(name);
    if (program === null) continue;
    const started = await startPrivate(name, program);
    if (started !== null) return started;
  }
  const { default: RedisMock } = await import("ioredis-mock");
  return {
    redis: new RedisMock(),
    label: "ioredis-mock, in this process (REDIS_URL is not set, and redis-server is not on the PATH)",
    stop: async () => {},
  };
}

function withoutCredentials(url: string): string {
  try {
    const { protocol, host, pathname } = new URL(url);
    return `${protocol}//${host}${pathname}`;
  } catch {
    return "the server";
  }
}

async function findOnPath(name: string): Promise<string | null> {
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const program = join(folder, name);
    try {
      await access(program, constants.X_OK);
      return program;
    } catch {
      // not in this folder
    }
  }
  return null;
}

/** Starts a server that writes nothing to disk. Returns `null` if it does not start. */
async function startPrivate(name: string, program: string): Promise<ChosenRedis | null> {
  const folder = await mkdtemp(join(tmpdir(), "redis-sse-demo-"));
  const port = await freePort();
  const options = [
    "--port",
    String(port),
    "--bind",
    "127.0.0.1",
    "--save",
    "",
    "--appendonly",
    "no",
    "--dir",
    folder,
  ];
  // A separate process group: Ctrl-C stops only the demo, and the demo then stops its server.
  const server = spawn(program, options, { stdio: ["ignore", "pipe", "ignore"], detached: true });
  const stop = async (): Promise<void> => {
    process.off("exit", kill);
    if (server.exitCode === null && server.pid !== undefined) {
      const exited = once(server, "exit");
      server.kill("SIGTERM");
      await exited;
    }
    await rm(folder, { recursive: true, force: true });
  };
  const kill = (): void => void server.kill("SIGKILL");
  process.on("exit", kill);
  if (await becomesReady(server)) {
    return { redis: `redis://127.0.0.1:${port}`, label: `a private ${name} on port ${port}`, stop };
  }
  await stop();
  return null;
}

/** Waits until the server reports that it is ready. Resolves with `false` if the server exits first. */
async function becomesReady(server: ChildProcess): Promise<boolean> {
  const failed = new Promise<false>((resolve) => {
    server.once("error", () => resolve(false));
    server.once("exit", () => resolve(false));
  });
  const ready = new Promise<true>((resolve) => {
    createInterface({ input: server.stdout! }).on("line", (line) => {
      if (line.includes("Ready to accept connections")) resolve(true);
    });
  });
  return Promise.race([ready, failed]);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
