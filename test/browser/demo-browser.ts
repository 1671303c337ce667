import { expect } from "chai";
import { chromium, type BrowserContext, type Page } from "playwright-core";

import { startDemo, startDemoWith, type DemoProcess } from "../support/demo-process.js";
import { locate } from "../support/prerequisites.js";

/** No window, no sandbox (a test may run as root), and no calls of its own to anywhere. */
export const FLAGS: string[] = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The demo, and a browser to look at it. */
export class DemoBrowser {
  readonly demo: DemoProcess;
  readonly context: BrowserContext;
  /** The errors and warnings that the pages wrote to their consoles. */
  #complaints: string[] = [];

  constructor(demo: DemoProcess, context: BrowserContext) {
    this.demo = demo;
    this.context = context;
  }

  /** A demo with a private Redis, or the given demo. */
  static async start(executablePath: string, given?: DemoProcess): Promise<DemoBrowser> {
    const server = await locate("redis");
    const demo = given ?? (await (server === null ? startDemo({}) : startDemoWith(server)));
    const viewport = { width: 1280, height: 800 };
    const context = await chromium.launchPersistentContext("", { executablePath, args: FLAGS, viewport });
    return new DemoBrowser(demo, context);
  }

  async openAs(user: string): Promise<Page> {
    const page = await this.context.newPage();
    page.on("pageerror", (error) => this.#complaints.push(error.message));
    page.on("console", (message) => {
      if (/error|warning/.test(message.type())) this.#complaints.push(message.text());
    });
    await page.goto(`${this.demo.url}/?user=${user}`);
    await page.locator("[data-testid=connection-state][data-state=live]").waitFor();
    return page;
  }

  /** Throws where a page has complained. */
  async closePages(): Promise<void> {
    await Promise.all(this.context.pages().map((page) => page.close()));
    const complaints = this.#complaints;
    this.#complaints = [];
    expect(complaints, "the browser's console").to.deep.equal([]);
  }

  /** So many complaints of that kind were to be. */
  forgive(kind: RegExp, count: number): void {
    expect(this.#complaints.filter((text) => kind.test(text))).to.have.length(count);
    this.#complaints = this.#complaints.filter((text) => !kind.test(text));
  }

  async stop(): Promise<void> {
    await this.context.close();
    await this.demo.stop();
  }
}
