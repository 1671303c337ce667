import { execFile } from "node:child_process";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { expect } from "chai";

const run = promisify(execFile);

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
/** Inside the package, so that its own name resolves as an installed one would. */
const FOLDER = join(ROOT, "dist/readme-types");

/** What the examples take for granted of those before them, and of the application. */
const GIVEN: Readonly<Record<string, string>> = {
  express: 'import express from "express";',
  createRedisSse: 'import { createRedisSse } from "redis-sse";',
  sseStream: 'import { sseStream } from "redis-sse/express";',
  taskStream: 'import { taskStream } from "redis-sse/express";',
  sse: 'declare const sse: import("redis-sse").RedisSse;',
  app: 'declare const app: import("express").Express;',
  server: 'declare const server: import("node:http").Server;',
  res: 'declare const res: import("express").Response;',
  source: "declare const source: EventSource;",
  userOf: 'declare function userOf(req: import("express").Request): string;',
  taskId: "declare const taskId: string;",
  queue: 'declare const queue: import("redis-sse").QueueService;',
  model: "declare const model: AsyncIterable<string>;",
  fetchState: "declare function fetchState(): void;",
  readState: "declare function readState(): Promise<unknown>;",
};

const OPTIONS =
  "--strict --exactOptionalPropertyTypes --noImplicitReturns --module nodenext " +
  "--target es2023 --lib es2023,dom --types node --noEmit";

describe("the examples in README.md", function () {
  this.timeout(60_000);

  before(() => mkdir(FOLDER, { recursive: true }));
  after(() => rm(FOLDER, { recursive: true, force: true }));

  it("compile in a project that is strict", async () => {
    const readme = await readFile(join(ROOT, "README.md"), "utf8");
    const examples = Array.from(readme.matchAll(/```[jt]s\n([\s\S]*?)```/g), ([, code]) => code!);
    expect(examples.length).to.be.greaterThan(8);
    const files = await Promise.all(
      examples.map(async (code, index) => {
        const file = join(FOLDER, `example-${index + 1}.mts`);
        await writeFile(file, `${givenOf(code)}\n${code}\nexport {};\n`);
        return file;
      }),
    );
    const tsc = join(ROOT, "node_modules/.bin/tsc");
    const check = run(tsc, [...OPTIONS.split(" "), "--ignoreConfig", ...files], { cwd: ROOT });
    await check.catch((error: { stdout: string }) => {
      throw new Error(error.stdout);
    });
  });
});

/** Of what an example uses, that which it does not make itself. */
function givenOf(code: string): string {
  const isOwn = (name: string): boolean =>
    new RegExp(`(const|function) ${name}\\b|import[^;]*\\b${name}\\b[^;]*from`).test(code);
  const isUsed = (name: string): boolean => new RegExp(`\\b${name}\\b`).test(code);
  return Object.entries(GIVEN)
    .filter(([name]) => isUsed(name) && !isOwn(name))
    .map(([, line]) => line)
    .join("\n");
}
