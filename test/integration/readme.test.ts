import { spawn, type ChildProcess } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { expect } from "chai";

import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { freePort, RedisServer } from "../support/redis-server.js";
import { openStream } from "../support/sse-client.js";

const README = fileURLToPath(new URL("../../../README.md", import.meta.url));
/** Inside the package, so that its own name resolves as an installed one would. */
const EXAMPLE = fileURLToPath(new URL("../../readme-example.mjs", import.meta.url));

describe("the example in README.md", () => {
  let server: RedisServer;
  let example: ChildProcess | null = null;

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
  });

  after(async () => {
    example?.kill("SIGKILL");
    await rm(EXAMPLE, { force: true });
    await server?.stop();
  });

  it("works when pasted", async () => {
    const readme = await readFile(README, "utf8");
    const code = /```js\n(import express[\s\S]*?)```/.exec(readme)?.[1];
    expect(code, "the first example").to.be.a("string");
    await writeFile(EXAMPLE, code!);
    const port = await freePort();
    example = spawn(process.execPath, [EXAMPLE], {
      env: { ...process.env, REDIS_URL: server.url, PORT: String(port) },
      stdio: "inherit",
    });
    const url = `http://127.0.0.1:${port}`;
    const stream = await eventually(() => openStream(`${url}/events?user=ann`), 10_000);
    await stream.next(({ event }) => event === "connected");
    const answer = await fetch(`${url}/greet/ann`, { method: "POST" });
    const receipt = (await answer.json()) as { readonly id: unknown };
    expect(receipt).to.deep.equal({ id: receipt.id, receivers: 1 });
    expect(receipt.id).to.match(/^3\.[\w-]+$/);
    const greeting = await stream.next(({ event }) => event === "greeting");
    expect(JSON.parse(greeting.data)).to.deep.equal({ hello: "ann" });
    expect(greeting.id).to.equal(receipt.id);
    stream.destroy();
  });
});
