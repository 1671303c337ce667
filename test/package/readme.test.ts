import { spawn, type ChildProcess } from "node:child_process";

import { expect } from "chai";

import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { freePort, RedisServer } from "../support/redis-server.js";
import { openStream } from "../support/sse-client.js";
import { CONSUMER } from "./consumer.js";
import { Project, readmeExample } from "./project.js";

describe("the first example of the README, in an empty project", function () {
  this.timeout(300_000);
  let redis: RedisServer;
  let project: Project | undefined;
  let app: ChildProcess | undefined;
  let appUrl: string;

  before(async function () {
    redis = await RedisServer.start(await need("redis", this));
  });

  afterEach(async () => {
    app?.kill("SIGKILL");
    await project?.remove();
  });

  after(() => redis?.stop());

  async function expectEvents(file: string): Promise<void> {
    const port = await freePort();
    app = spawn(process.execPath, [file], {
      cwd: project!.folder,
      env: { ...process.env, REDIS_URL: redis.url, PORT: String(port) },
      stdio: "inherit",
    });
    const url = (appUrl = `http://127.0.0.1:${port}`);
    const stream = await eventually(() => openStream(`${url}/events?user=ann`), 20_000);
    await stream.next(({ event }) => event === "connected");
    await fetch(`${url}/greet/ann`, { method: "POST" });
    const { data } = await stream.next(({ event }) => event === "greeting");
    expect(JSON.parse(data)).to.deep.equal({ text: "Hello" });
    stream.destroy();
    expect((await fetch(`${url}/events`)).status, "without a user").to.equal(403);
  }

  it("runs on Express 4, in CommonJS", async () => {
    project = await Project.create({}, "express@4", "ioredis@6");
    const code = (await readmeExample()).replaceAll(/^import (.+) from (.+);$/gm, "const $1 = require($2);");
    expect(code).to.include('require("redis-sse/express")');
    await project.write("app.js", code);
    await expectEvents("app.js");
    await redis.kill();
    try {
      for (let call = 0; call < 2; call++) {
        const answer = await fetch(`${appUrl}/greet/ann`, { method: "POST" });
        expect(answer.status, "while Redis is down").to.equal(500);
      }
    } finally {
      await redis.boot();
    }
  });

  it("compiles and runs on Express 5, in strict TypeScript", async () => {
    const packages = [
      "express@5",
      "ioredis@6",
      "typescript@7",
      "@types/node@20",
      "@types/express@5",
      "react@19",
      "@types/react@19",
    ];
    project = await Project.create({ type: "module" }, ...packages);
    await project.write("app.ts", await readmeExample());
    await project.write("consumer.ts", CONSUMER);
    const strict = { strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false };
    const compilerOptions = { ...strict, module: "nodenext", target: "es2023", types: ["node"] };
    await project.write("tsconfig.json", JSON.stringify({ compilerOptions }));
    await project.run("npx", "tsc");
    await project.run("npx", "tsc", "--noEmit", "--module", "preserve", "--moduleResolution", "bundler");
    await expectEvents("app.js");
  });
});
