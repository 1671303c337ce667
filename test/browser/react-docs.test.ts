import { execFile, spawn, type ChildProcess } from "node:child_process";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { expect } from "chai";
import { chromium, type Browser } from "playwright-core";

import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { freePort, RedisServer } from "../support/redis-server.js";
import { FLAGS } from "./demo-browser.js";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
/** Inside the package, so that the app imports it by its own name. */
const FOLDER = join(ROOT, "dist/react-docs");

const run = promisify(execFile);

describe("the app of docs/react.md", function () {
  this.timeout(30_000);

  let redis: RedisServer;
  let browser: Browser;
  let app: ChildProcess | undefined;

  before(async function () {
    redis = await RedisServer.start(await need("redis", this));
    browser = await chromium.launch({ executablePath: await need("chromium", this), args: FLAGS });
    const page = await readFile(join(ROOT, "docs/react.md"), "utf8");
    const blockAfter = (name: string): string =>
      new RegExp(`\`${name}\`:\n\n\`\`\`\\w+.*\n([\\s\\S]*?)\`\`\``).exec(page)![1]!;
    await mkdir(join(FOLDER, "public"), { recursive: true });
    for (const name of ["server.mjs", "app.jsx", "public/index.html"])
      await writeFile(join(FOLDER, name), blockAfter(name));
    const command = /npx (rolldown .*)/.exec(page)![1]!;
    const [program, ...options] = command.split(" ");
    await run(join(ROOT, "node_modules/.bin", program!), options, { cwd: FOLDER });
  });

  after(async () => {
    app?.kill("SIGKILL");
    await browser?.close();
    await redis?.stop();
    await rm(FOLDER, { recursive: true, force: true });
  });

  it("shows news, a report that is cancelled, and an answer", async () => {
    const port = await freePort();
    const env = { ...process.env, REDIS_URL: redis.url, PORT: String(port) };
    app = spawn(process.execPath, ["server.mjs"], { cwd: FOLDER, env, stdio: "ignore" });
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(error.message));
    await eventually(() => page.goto(`http://localhost:${port}`), 10_000);
    await page.locator("#news", { hasText: "open, 0 reports started" }).waitFor();
    await page.getByText("Start a report").click();
    await page.locator("#news", { hasText: "open, 1 reports started" }).waitFor();
    await page.locator("#status", { hasText: "running" }).waitFor();
    await page.locator("#output", { hasText: "page 1" }).waitFor();
    await page.getByText("Cancel").click();
    await page.locator("#status", { hasText: "cancelled" }).waitFor();
    await page.getByText("Ask").click();
    await page.locator("#answer", { hasText: "The answer is 42. (complete)" }).waitFor();
    expect(errors).to.deep.equal([]);
  });
});
