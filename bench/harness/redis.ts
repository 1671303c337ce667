import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { Redis } from "ioredis";

import { startProgram, stop } from "./children.js";
import { freePort } from "./free-port.js";
import { cpuOf } from "./proc.js";

/** A Redis of the benchmark's own, which keeps nothing on disk. */
export class RedisServer {
  readonly port: number;
  readonly url: string;
  readonly admin: Redis;
  readonly #child: ChildProcessWithoutNullStreams;

  private constructor(child: ChildProcessWithoutNullStreams, port: number) {
    this.port = port;
    this.url = `redis://127.0.0.1:${port}`;
    this.#child = child;
    this.admin = new Redis(this.url);
    this.admin.on("error", () => {});
  }

  static async start(): Promise<RedisServer> {
    for (let attempt = 1; ; attempt++) {
      const port = await freePort();
      const args = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
      const child = startProgram("redis-server", args);
      // Another process may have taken the port meanwhile.
      if (await isReady(child)) return new RedisServer(child, port);
      await stop(child);
      if (attempt === 5) throw new Error("redis-server did not start: is it on the PATH?");
    }
  }

  async version(): Promise<string> {
    return /redis_version:(\S+)/.exec(await this.admin.info("server"))?.[1] ?? "unknown";
  }

  cpuUs(): number {
    return cpuOf(this.#child.pid!);
  }

  async stop(): Promise<void> {
    this.admin.disconnect();
    await stop(this.#child);
  }
}

async function isReady(child: ChildProcessWithoutNullStreams): Promise<boolean> {
  const lines = createInterface({ input: child.stdout });
  const ready = new Promise<boolean>((resolve) => {
    lines.on("line", (line) => {
      if (line.includes("Ready to accept connections")) resolve(true);
    });
  });
  const failed = Promise.race([once(child, "exit"), once(child, "error")]).then(
    () => false,
    () => false,
  );
  return Promise.race([ready, failed]);
}
