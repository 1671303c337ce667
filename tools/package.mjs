// Builds the files of the package, or packs it.
//
//   node tools/package.mjs build   writes dist/lib, dist/middleware, dist/testing, dist/client and dist/react (ES modules) and dist/cjs (CommonJS), without source maps
//   node tools/package.mjs pack    runs `npm pack`, which builds first, and writes dist/redis-sse.tgz
import { execSync } from "node:child_process";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");
const dist = join(root, "dist");

function build() {
  for (const folder of ["lib", "middleware", "testing", "client", "react", "cjs"])
    rmSync(join(dist, folder), { recursive: true, force: true });
  for (const command of [
    "npm run -s lua",
    "npx tsc -p tsconfig.package.json",
    "npx tsc -p tsconfig.cjs.json",
  ])
    execSync(command, { cwd: root, stdio: "inherit" });
  const file = join(dist, "cjs/testing/mock-module.js");
  const parts = readFileSync(file, "utf8").split("import.meta.url");
  if (parts.length !== 2) throw new Error(`expected import.meta.url once in ${file}`);
  writeFileSync(file, parts.join("__filename"));
  // The package is of type "module". Without this file, Node would read the files of dist/cjs as ES modules.
  writeFileSync(join(dist, "cjs/package.json"), '{ "type": "commonjs" }\n');
}

function pack() {
  mkdirSync(dist, { recursive: true });
  const command = "npm pack --json --loglevel=error --foreground-scripts=false --pack-destination dist";
  const output = execSync(command, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  const [{ filename }] = JSON.parse(output);
  renameSync(join(dist, filename), join(dist, "redis-sse.tgz"));
}

if (process.argv[2] === "pack") pack();
else build();
