import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { endWithTests } from "./end-with-tests.js";

const SERVER = fileURLToPath(new URL("../../demo/server.js", import.meta.url));

/** The demo in its own process, on a free port. */
export interface DemoProcess {
  readonly url: string;
  /** Printed description of the Redis server. */
  readonly redis: string;
  /** Sends SIGTERM. Resolves with the exit code and the time to exit. */
  stop(): Promise<{ exitCode: number | null; tookMs: number; stdout: string; stderr: string }>;
}

export async function startDemo(env: Readonly<Record<string, string | undefined>>): Promise<DemoProcess> {
  const child: ChildProcess = spawn(process.execPath, [SERVER], {
    env: { ...process.env, REDIS_URL: undefined, DEMO_TOKEN: undefined, PORT: "0", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  endWithTests(child);
  let stderr = "";
  child.stderr!.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
  let stdout = "";
  child.stdout!.setEncoding("utf8").on("data", (chunk: string) => (stdout += chunk));
  let redis = "";
  const url = await new Promise<string>((resolve, reject) => {
    child.once("close", (code) => reject(new Error(`the demo exited with code ${code}: ${stderr}`)));
    createInterface({ input: child.stdout! }).on("line", (line) => {
      redis ||= /^Redis: (.*)/.exec(line)?.[1] ?? "";
      const address = /http:\/\/localhost:\d+/.exec(line)?.[0];
      if (address !== undefined) resolve(address);
    });
  });
  return {
    url,
    redis,
    async stop() {
      const startedAt = Date.now();
      if (child.exitCode === null) {
        const exited = once(child, "exit");
        child.kill("SIGTERM");
        await exited;
      }
      return { exitCode: child.exitCode, tookMs: Date.now() - startedAt, stdout, stderr };
    },
  };
}

/** Starts the demo with a private server of this program. A link gives it a name that the demo looks for. */
export async function startDemoWith(program: string): Promise<DemoProcess> {
  const folder = await mkdtemp(join(tmpdir(), "redis-sse-test-"));
  try {
    await symlink(program, join(folder, "redis-server"));
    return await startDemo({ PATH: folder });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
