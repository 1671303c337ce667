import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { promisify } from "node:util";

import type { Context } from "mocha";

const run = promisify(execFile);

const TOOLS = {
  redis: { programs: ["redis-server", "valkey-server"], package: "redis-server" },
  chromium: { programs: ["chromium", "chromium-browser", "google-chrome"], package: "chromium" },
  ip: { programs: ["ip"], package: "iproute2" },
  nginx: { programs: ["nginx"], package: "nginx-light" },
  haproxy: { programs: ["haproxy"], package: "haproxy" },
  caddy: { programs: ["caddy"], package: "caddy" },
  apache2: { programs: ["apache2"], package: "apache2" },
  openssl: { programs: ["openssl"], package: "openssl" },
} as const;

type Tool = keyof typeof TOOLS;

/** Programs whose packages start a service, unless `.ci/run` installs them. */
const NEVER_INSTALLED: ReadonlySet<Tool> = new Set(["nginx", "haproxy", "caddy", "apache2"]);

const found = new Map<Tool, Promise<string | null>>();

/**
 * Returns the path of a program that a suite needs. Use it in a `before` hook. A missing program is installed if this
 * needs no password (root on Debian). Otherwise the suite is skipped. With CI=true it fails.
 */
export async function need(tool: Tool, context: Context): Promise<string> {
  context.timeout(300_000);
  const program = await locate(tool);
  if (program !== null) return program;
  const advice = adviceFor(tool);
  if (process.env["CI"] === "true") throw new Error(advice);
  console.warn(`      skipped: ${advice}`);
  return context.skip();
}

/** Returns the path of a program. Installs it if possible. Returns `null` if it is not available. */
export function locate(tool: Tool): Promise<string | null> {
  let search = found.get(tool);
  if (search === undefined) {
    search = findOrInstall(tool);
    found.set(tool, search);
  }
  return search;
}

export function adviceFor(tool: Tool): string {
  return `${TOOLS[tool].programs[0]} is missing. Install it with: sudo apt-get install -y ${TOOLS[tool].package}`;
}

async function findOrInstall(tool: Tool): Promise<string | null> {
  const program = await find(tool);
  if (program !== null || process.getuid?.() !== 0 || NEVER_INSTALLED.has(tool)) return program;
  try {
    // Only one process at a time, because tests run in several processes.
    const install = `apt-get update -qq && apt-get install -y -qq --no-install-recommends ${TOOLS[tool].package}`;
    await run("flock", [join(tmpdir(), "redis-sse-test-install.lock"), "sh", "-c", install], {
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
      maxBuffer: 64 * 1024 * 1024,
    });
  } catch {
    return null; // not Debian, or the packages cannot be downloaded
  }
  return find(tool);
}

/** The program of `REDIS_SERVER`, or the first one on the PATH. `null` if none is found. */
export async function find(tool: Tool): Promise<string | null> {
  const chosen = tool === "redis" ? process.env["REDIS_SERVER"] : undefined;
  if (chosen) {
    const program = resolve(chosen);
    try {
      await access(program, constants.X_OK);
    } catch {
      // Do not use another server: that would hide that the chosen one was never tested.
      throw new Error(`REDIS_SERVER is not a program that can be run: ${program}`);
    }
    return program;
  }
  for (const name of TOOLS[tool].programs) {
    for (const folder of [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin"]) {
      const program = join(folder, name);
      try {
        await access(program, constants.X_OK);
        return program;
      } catch {
        // not in this folder
      }
    }
  }
  return null;
}
