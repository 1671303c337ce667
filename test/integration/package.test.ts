import { execFile } from "node:child_process";
import { access, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { expect } from "chai";

const run = promisify(execFile);

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

const CONSUMER = `
import express from "express";
import { createRedisSse, PoolExhaustedError, type RedisSse, type StatusReport } from "redis-sse";
import { bearerAuth, redisPoolStatus, sseStream, taskStream, type ChannelResolver, type SseStreamOptions } from "redis-sse/express";

import { assertStreamOptions, serveStream, type Sink } from "redis-sse/adapter";
import { collect, createTestSse, FakeClock, type CollectedStream, type TestSse } from "redis-sse/testing";

const sse: RedisSse = createRedisSse({ subscriptions: "dedicated", pool: { maxConnections: 3 } });
const resolver: ChannelResolver = async (req) => [\`user:\${String(req.query["user"])}\`];
const app = express();
app.get("/events", sseStream(resolver, { service: sse, onOpen: (session) => session.send({ data: { hi: 1 } }) }));
app.get("/pool", redisPoolStatus({ service: sse, authorize: bearerAuth("t") }));
app.get("/x/:id", sseStream((req) => ["x", req.params.id.toUpperCase()], { service: sse }));
app.get("/y/:id", taskStream((req) => req.params.id, { service: sse }));
app.get("/z/*splat", sseStream<{ splat: string[] }>((req) => req.params.splat, { filter: (_, req) => req.params.splat.length > 0 }));
export const wide: SseStreamOptions = { heartbeatMs: undefined, filter: undefined };
createRedisSse({ keyPrefix: undefined, limits: { maxSessions: undefined }, pool: undefined });
// @ts-expect-error the route's params are said to be others
sseStream<{ room: string }>((req) => req.params.id);
// @ts-expect-error a number is no selection
sseStream(() => 7);
// @ts-expect-error there is no such mode
createRedisSse({ subscriptions: "both" });
export const report: Promise<StatusReport> = sse.status();
declare const sink: Sink;
assertStreamOptions({ heartbeatMs: 1_000 });
export const served: Promise<void> = serveStream(sse, { method: "GET" }, sink, ["x"], (session) => session.send({ data: 1 }));
// @ts-expect-error the service makes these: only their types are public
export const worker: unknown = (await import("redis-sse")).Worker;
export const test: TestSse = createTestSse({ clock: new FakeClock(), subscriptions: "dedicated" });
export const other: RedisSse = createTestSse({ redis: test.redis });
export const stream: CollectedStream = await collect(new Response("data: 1\\n\\n"));
export const { hello } = (await stream.event<{ hello: string }>("greeting")).data;
for await (const { event, text } of stream) test.redis.refuse("NOPERM", { channel: event + text });
// @ts-expect-error a test has no other Redis
createTestSse({ redis: "redis://127.0.0.1" });
export const isExhausted = (error: unknown): boolean => error instanceof PoolExhaustedError;
`;

/** The names that can be imported at run time. Every other public name is a type. */
const NAMES: Readonly<Record<string, readonly string[]>> = {
  "redis-sse": [
    "ConfigError",
    "NotificationService",
    "PoolExhaustedError",
    "PubSubSession",
    "QueueService",
    "RedisSseError",
    "TaskFailure",
    "closeReasonCatalogue",
    "createRedisSse",
    "errorCatalogue",
    "progressChannel",
  ],
  "redis-sse/adapter": [
    "COMPLETED_ID",
    "answerTo",
    "assertOptions",
    "assertStreamOptions",
    "isFinished",
    "optionError",
    "progressOf",
    "readKey",
    "serveStream",
    "streamHead",
  ],
  "redis-sse/testing": ["FakeClock", "TestRedis", "collect", "createTestSse"],
  "redis-sse/express": ["bearerAuth", "defaultService", "redisPoolStatus", "sseStream", "taskStream"],
};

describe("the package, installed", function () {
  this.timeout(60_000);
  let project: string;

  before(async () => {
    project = await mkdtemp(join(tmpdir(), "redis-sse-consumer-"));
    const { stdout } = await run(
      "npm",
      ["pack", "--ignore-scripts", "--json", "--pack-destination", project],
      {
        cwd: ROOT,
      },
    );
    const [packed] = JSON.parse(stdout) as [{ filename: string }];
    await run("tar", ["-xzf", join(project, packed.filename), "-C", project]);
    const modules = join(project, "node_modules");
    await mkdir(join(modules, "@types"), { recursive: true });
    await cp(join(project, "package"), join(modules, "redis-sse"), { recursive: true });
    // What npm would install beside it; not the tools that this repository has for itself.
    await mkdir(join(modules, "@standard-schema"));
    for (const name of [
      "express",
      "ioredis",
      "debug",
      "croner",
      "eventsource-parser",
      "@standard-schema/spec",
    ])
      await symlink(join(ROOT, "node_modules", name), join(modules, name));
    for (const name of ["node", "express"]) {
      await symlink(join(ROOT, "node_modules/@types", name), join(modules, "@types", name));
    }
    await writeFile(join(project, "package.json"), JSON.stringify({ type: "module" }));
  });

  after(() => rm(project, { recursive: true, force: true }));

  it("has these names for import, and for require()", async () => {
    const entries = JSON.stringify(Object.keys(NAMES));
    await writeFile(
      join(project, "import.mjs"),
      `const all = await Promise.all(${entries}.map(async (name) => [name, Object.keys(await import(name)).sort()]));
       console.log(JSON.stringify(Object.fromEntries(all)));`,
    );
    await writeFile(
      join(project, "require.cjs"),
      `const all = ${entries}.map((name) => [name, Object.keys(require(name)).sort()]);
       console.log(JSON.stringify(Object.fromEntries(all)));`,
    );
    for (const file of ["import.mjs", "require.cjs"]) {
      const { stdout } = await run(process.execPath, ["--no-warnings", join(project, file)]);
      expect(JSON.parse(stdout), file).to.deep.equal(NAMES);
    }
  });

  it("says what to install where ioredis-mock is missing", async () => {
    await writeFile(
      join(project, "missing.mjs"),
      `import { createTestSse } from "redis-sse/testing";
       try { createTestSse(); } catch ({ code, message }) { console.log(code, message); }`,
    );
    const { stdout } = await run(process.execPath, [join(project, "missing.mjs")]);
    expect(stdout).to.match(/^MOCK_MISSING .*npm install --save-dev ioredis-mock/);
  });

  it("has types that a strict project compiles against", async () => {
    await writeFile(join(project, "consumer.ts"), CONSUMER);
    const options = [
      "--strict",
      "--exactOptionalPropertyTypes",
      "--module",
      "nodenext",
      "--target",
      "es2023",
      "--types",
      "node",
      "--noEmit",
    ];
    const tsc = join(ROOT, "node_modules/.bin/tsc");
    await run(tsc, [...options, "consumer.ts"], { cwd: project }).catch((error: { stdout: string }) => {
      throw new Error(error.stdout);
    });
  });

  it("holds what it needs and nothing of the tests or the demo", async () => {
    const { stdout } = await run("npm", ["pack", "--dry-run", "--ignore-scripts", "--json"], { cwd: ROOT });
    const [{ files }] = JSON.parse(stdout) as [{ files: { path: string }[] }];
    const paths = files.map(({ path }) => path);
    expect(paths).to.include.members([
      "package.json",
      "README.md",
      "LICENSE",
      "dist/lib/index.js",
      "dist/lib/adapter.d.ts",
      "docs/adapters.md",
      "dist/middleware/express.d.ts",
      "dist/testing/index.js",
      "docs/testing.md",
    ]);
    expect(
      paths.filter((path) => /\btest\/|\.test\.|demo|node_modules|\.map$|\.lua$/.test(path)),
    ).to.deep.equal([]);
  });

  it("holds every file that its README links to", async () => {
    const readme = await readFile(join(project, "package/README.md"), "utf8");
    const links = Array.from(readme.matchAll(/\]\((?!https?:|#)([^)#]+)/g), ([, path]) => path!);
    expect(links).to.include.members(["docs/protocol.md", "docs/faults.md"]);
    for (const path of links) await access(join(project, "package", path));
  });
});
