import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import type { Context } from "mocha";
import { chromium, type Browser, type Page } from "playwright-core";

import { endWithTests } from "../support/end-with-tests.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { freePort, RedisServer } from "../support/redis-server.js";
import { FLAGS } from "./demo-browser.js";

export const ROOT: string = fileURLToPath(new URL("../../..", import.meta.url));

/** An app of the documentation in its own process, its Redis and a browser. */
export class ExampleApp {
  readonly redis: RedisServer;
  url = "";
  readonly #browser: Browser;
  #process: ChildProcess | null = null;

  private constructor(redis: RedisServer, browser: Browser) {
    this.redis = redis;
    this.#browser = browser;
  }

  static async start(context: Context): Promise<ExampleApp> {
    const executablePath = await need("chromium", context);
    const redis = await RedisServer.start(await need("redis", context));
    return new ExampleApp(redis, await chromium.launch({ executablePath, args: FLAGS }));
  }

  /** Starts the app, and opens its page. The returned list gets the errors of the page. */
  async open(folder: string, file: string): Promise<{ page: Page; errors: readonly string[] }> {
    const port = await freePort();
    this.url = `http://localhost:${port}`;
    this.#process = spawn(process.execPath, [file], {
      cwd: folder,
      env: { ...process.env, REDIS_URL: this.redis.url, PORT: String(port), NODE_OPTIONS: "" },
      stdio: "ignore",
    });
    endWithTests(this.#process);
    const page = await this.#browser.newPage();
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(error.message));
    await eventually(() => page.goto(this.url), 10_000);
    return { page, errors };
  }

  async close(): Promise<void> {
    const child = this.#process;
    this.#process = null;
    if (child === null) return;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }

  async stop(): Promise<void> {
    await this.close();
    await this.#browser.close();
    await this.redis.stop();
  }
}
