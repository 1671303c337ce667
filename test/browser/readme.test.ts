import { spawn, type ChildProcess } from "node:child_process";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { expect } from "chai";
import { chromium, type Browser } from "playwright-core";

import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { freePort, RedisServer } from "../support/redis-server.js";
import { FLAGS } from "./demo-browser.js";

const README = fileURLToPath(new URL("../../../README.md", import.meta.url));
/** Inside the package, so that the example imports it by its own name. */
const FOLDER = fileURLToPath(new URL("../../readme-example", import.meta.url));

describe("example of README.md in two files", () => {
  let redis: RedisServer;
  let browser: Browser;
  let app: ChildProcess | undefined;

  before(async function () {
    redis = await RedisServer.start(await need("redis", this));
    browser = await chromium.launch({ executablePath: await need("chromium", this), args: FLAGS });
    const readme = await readFile(README, "utf8");
    await mkdir(join(FOLDER, "public"), { recursive: true });
    await writeFile(join(FOLDER, "app.mjs"), /```js\n(import express[\s\S]*?)```/.exec(readme)![1]!);
    await writeFile(join(FOLDER, "public/index.html"), /```html\n([\s\S]*?)```/.exec(readme)![1]!);
  });

  after(async () => {
    app?.kill("SIGKILL");
    await browser?.close();
    await redis?.stop();
    await rm(FOLDER, { recursive: true, force: true });
  });

  it("shows each greeting in the page, also after Redis was down", async () => {
    const port = await freePort();
    const env = { ...process.env, REDIS_URL: redis.url, PORT: String(port) };
    app = spawn(process.execPath, ["app.mjs"], { cwd: FOLDER, env, stdio: "ignore" });
    const page = await browser.newPage();
    await eventually(() => page.goto(`http://localhost:${port}`), 10_000);
    const state = page.locator("#state");
    const greetings = page.locator("li");
    await state.filter({ hasText: "open" }).waitFor();
    await page.locator("button").click();
    await greetings.first().waitFor();
    expect(await greetings.allTextContents()).to.deep.equal(["Hello"]);
    await redis.kill();
    expect((await fetch(`http://localhost:${port}/greet/ann`, { method: "POST" })).status).to.equal(500);
    await redis.boot();
    await state.filter({ hasText: "open" }).waitFor();
    await eventually(async () => {
      await page.locator("button").click();
      expect(await greetings.count()).to.be.greaterThan(1);
    }, 10_000);
  });
});
