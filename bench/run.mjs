/**
 * Prepares the benchmark and runs it. It installs the packages to compare, unless they are installed. It compiles the
 * TypeScript and the C code on each run.
 */
import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const bench = dirname(fileURLToPath(import.meta.url));
const root = join(bench, "..");
const dist = join(bench, "dist");

/** @param {string} program @param {readonly string[]} args @param {string} cwd */
function run(program, args, cwd) {
  const { status, error } = spawnSync(program, args, { cwd, stdio: "inherit" });
  if (error !== undefined) stop(`${program}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

/** @param {string} message @returns {never} */
function stop(message) {
  console.error(`bench: ${message}`);
  process.exit(1);
}

function installPeers() {
  if (!["better-sse", "bullmq"].every((name) => existsSync(join(bench, "node_modules", name)))) {
    run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], bench);
  }
  // The targets import the package of this repository by its name, as an application does.
  const link = join(bench, "node_modules", "redis-sse");
  if (lstatSync(link, { throwIfNoEntry: false }) === undefined) symlinkSync(root, link);
}

/** @param {string} program @param {readonly string[]} sources */
function compileC(program, sources) {
  const args = ["-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-o", join(dist, program), ...sources];
  run("cc", args, bench);
}

if (process.platform !== "linux") stop("The benchmark runs only on Linux, because it uses /proc and epoll.");
if (spawnSync("cc", ["--version"]).error !== undefined) {
  stop(
    "`cc` is not on the PATH. It is needed to compile the load client (Debian: apt-get install gcc libc6-dev).",
  );
}
if (spawnSync("redis-server", ["--version"]).error !== undefined) {
  stop("`redis-server` is not on the PATH (Debian: apt-get install redis-server).");
}
installPeers();
rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);
run(process.execPath, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", bench], bench);
const load = join(bench, "load");
compileC(
  "load-client",
  readdirSync(load)
    .filter((name) => name.endsWith(".c"))
    .map((name) => join(load, name)),
);
compileC("floor", [join(bench, "targets", "floor.c")]);
await import("./dist/main.js");
