import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { expect } from "chai";
import { chromium, type Browser, type Page } from "playwright-core";

import { endWithTests } from "../support/end-with-tests.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { freePort, RedisServer } from "../support/redis-server.js";
import { FLAGS } from "./demo-browser.js";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

describe("the apps of docs/browser-client.md", () => {
  let redis: RedisServer;
  let browser: Browser;
  let app: ChildProcess | undefined;

  before(async function () {
    redis = await RedisServer.start(await need("redis", this));
    browser = await chromium.launch({ executablePath: await need("chromium", this), args: FLAGS });
  });

  afterEach(async () => {
    if (app === undefined) return;
    const exited = once(app, "exit");
    app.kill("SIGKILL");
    await exited;
  });

  after(async () => {
    await browser?.close();
    await redis?.stop();
  });

  async function open(name: string, port: number): Promise<Page> {
    app = spawn(process.execPath, ["app.mjs"], {
      cwd: join(ROOT, "examples", name),
      env: { ...process.env, REDIS_URL: redis.url, PORT: String(port), NODE_OPTIONS: "" },
      stdio: "ignore",
    });
    endWithTests(app);
    const page = await browser.newPage();
    await eventually(() => page.goto(`http://localhost:${port}`), 10_000);
    return page;
  }

  for (const name of ["plain-page", "chat"]) {
    it(`are the files of examples/${name}`, async () => {
      const docs = await readFile(join(ROOT, "docs/browser-client.md"), "utf8");
      const read = (file: string): Promise<string> => readFile(join(ROOT, "examples", name, file), "utf8");
      expect(docs).to.include(`\n\`\`\`js no-check\n${await read("app.mjs")}\`\`\`\n`);
      expect(docs).to.include(`\n\`\`\`html\n${await read("public/index.html")}\`\`\`\n`);
    });
  }

  it("shows orders of the state and of the stream once, also after a reload", async () => {
    const page = await open("plain-page", await freePort());
    const orders = page.locator("li");
    await page.locator("#status", { hasText: /^Connected$/ }).waitFor();
    for (const count of [1, 2]) {
      await page.locator("button").click();
      await eventually(async () => expect(await orders.count()).to.equal(count));
    }
    await page.reload();
    await page.locator("#status", { hasText: /^Connected$/ }).waitFor();
    await page.locator("button").click();
    await eventually(async () => {
      const texts = await orders.allTextContents();
      expect(texts.map((text) => text.split(":")[0])).to.deep.equal(["Order 1", "Order 2", "Order 3"]);
    });
  });

  it("shows the words of an answer, and needs a token for them", async () => {
    const port = await freePort();
    const page = await open("chat", port);
    await page.locator("input").fill("Why?");
    await page.locator("button").click();
    await eventually(async () => {
      expect(await page.locator("#answer").textContent()).to.equal("You asked: Why?");
    });
    expect((await fetch(`http://localhost:${port}/answers/x/events`)).status).to.equal(401);
  });
});
