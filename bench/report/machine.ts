import { readFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { join } from "node:path";
import { spawnSync } from "node:child_process";

import { source } from "../harness/paths.js";

/** What a figure is worth nothing without. */
export interface Machine {
  readonly date: string;
  readonly processor: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly kernel: string;
  /** Of the last 1, 5 and 15 minutes, before anything was measured: what else was going on. */
  readonly loadAverage: string;
  readonly versions: Readonly<Record<string, string>>;
}

const PEERS = [
  "better-sse",
  "@fastify/sse",
  "@boringnode/transmit",
  "express-sse",
  "bullmq",
  "bee-queue",
  "express",
  "fastify",
  "ioredis",
];

export function describeMachine(redisVersion: string): Machine {
  const [first] = cpus();
  const versions: Record<string, string> = { Node: process.version.slice(1), Redis: redisVersion };
  const nginx = nginxVersion();
  if (nginx !== null) versions["nginx"] = nginx;
  for (const peer of PEERS) versions[peer] = versionOf(peer);
  return {
    date: new Date().toISOString().slice(0, 10),
    processor: first?.model.trim() ?? "unknown",
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: `Linux ${release()}`,
    loadAverage: loadavg()
      .map((load) => load.toFixed(2))
      .join(", "),
    versions,
  };
}

function versionOf(name: string): string {
  const text = readFileSync(join(source, "node_modules", name, "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

function nginxVersion(): string | null {
  const { stderr, error } = spawnSync("nginx", ["-v"], { encoding: "utf8" });
  return error === undefined ? (/nginx\/(\S+)/.exec(stderr)?.[1] ?? null) : null;
}
