import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";

import { endWithTests } from "../support/end-with-tests.js";
import { FLAGS } from "./demo-browser.js";

interface Reply {
  readonly id?: number;
  readonly result?: object;
  readonly error?: { readonly message: string };
}

/** Chromium over its DevTools pipe. Playwright keeps each page active, so that a page cannot be hidden or frozen. */
export class DevtoolsBrowser {
  readonly #process: ChildProcess;
  readonly #profile: string;
  readonly #replies = new Map<number, (reply: Reply) => void>();
  #lastId = 0;
  #rest = "";

  private constructor(process: ChildProcess, profile: string) {
    this.#process = process;
    this.#profile = profile;
    const replies = process.stdio[4] as Readable;
    replies.setEncoding("utf8").on("data", (chunk: string) => this.#read(chunk));
  }

  static async start(executablePath: string): Promise<DevtoolsBrowser> {
    const profile = await mkdtemp(join(tmpdir(), "redis-sse-browser-"));
    const args = [...FLAGS, "--headless", "--remote-debugging-pipe", `--user-data-dir=${profile}`];
    const child = spawn(executablePath, args, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    endWithTests(child);
    return new DevtoolsBrowser(child, profile);
  }

  async open(url: string): Promise<DevtoolsPage> {
    const { targetId } = await this.send<{ targetId: string }>("Target.createTarget", { url });
    const attach = { targetId, flatten: true };
    const { sessionId } = await this.send<{ sessionId: string }>("Target.attachToTarget", attach);
    return new DevtoolsPage(this, sessionId);
  }

  async send<Result extends object>(method: string, params: object, sessionId?: string): Promise<Result> {
    const id = ++this.#lastId;
    const reply = await new Promise<Reply>((resolve) => {
      this.#replies.set(id, resolve);
      (this.#process.stdio[3] as Writable).write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
    if (reply.error !== undefined) throw new Error(`${method}: ${reply.error.message}`);
    return reply.result as Result;
  }

  async stop(): Promise<void> {
    await this.send("Browser.close", {});
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 10 });
  }

  #read(chunk: string): void {
    const messages = (this.#rest + chunk).split("\0");
    this.#rest = messages.pop()!;
    for (const message of messages) {
      const reply = JSON.parse(message) as Reply;
      if (reply.id === undefined) continue;
      this.#replies.get(reply.id)?.(reply);
      this.#replies.delete(reply.id);
    }
  }
}

export class DevtoolsPage {
  readonly #browser: DevtoolsBrowser;
  readonly #sessionId: string;

  constructor(browser: DevtoolsBrowser, sessionId: string) {
    this.#browser = browser;
    this.#sessionId = sessionId;
  }

  /** A frozen page is hidden, and runs no timers, and reads nothing. */
  async setState(state: "frozen" | "active"): Promise<void> {
    await this.#browser.send("Page.setWebLifecycleState", { state }, this.#sessionId);
  }

  async textOf(selector: string): Promise<string> {
    const expression = `document.querySelector("${selector}")?.textContent ?? ""`;
    type Evaluated = { readonly result: { readonly value: string } };
    const params = { expression, returnByValue: true };
    const { result } = await this.#browser.send<Evaluated>("Runtime.evaluate", params, this.#sessionId);
    return result.value;
  }
}
