import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** What the machine lacks, in words for who has started the benchmark: no fault of the code. */
export class Refusal extends Error {}

/**
 * Sees to it that every process may have so many files open: servers and the load client have one for each stream,
 * and inherit the limit. Throws a `Refusal`.
 */
export function ensureOpenFiles(needed: number): void {
  if (allowed() >= needed) return;
  // Only root may, but then it is done without asking for it.
  spawnSync("prlimit", ["--pid", String(process.pid), `--nofile=${needed}:${needed}`]);
  if (allowed() >= needed) return;
  throw new Refusal(`so many streams need \`ulimit -n ${needed}\`, and the limit is ${allowed()}`);
}

/** The limit itself; Node has raised what is in force to it when it started. */
function allowed(): number {
  const [, hard = ""] =
    /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
  return hard === "unlimited" ? Infinity : Number(hard);
}
