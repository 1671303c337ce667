import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { expect } from "chai";
import { chromium, type Browser, type BrowserContext } from "playwright-core";

import type { Status } from "../../client/index.js";
import { createRedisSse, type RedisSse } from "../../lib/index.js";
import { endWithTests } from "../support/end-with-tests.js";
import { eventually } from "../support/eventually.js";
import { freePort, RedisServer } from "../support/redis-server.js";
import type { PageRecord } from "./client-page.js";
import { FLAGS } from "./demo-browser.js";

const APP = fileURLToPath(new URL("./client-app.js", import.meta.url));

/** Time in which each page must have all events after an outage. */
const CATCH_UP_MS = 3_000;

/** The server of the pages. It can be killed, and starts again on the same port. */
export class ServerProcess {
  readonly port: number;
  readonly #redisUrl: string;
  #process: ChildProcess | null = null;

  constructor(port: number, redisUrl: string) {
    this.port = port;
    this.#redisUrl = redisUrl;
  }

  get running(): boolean {
    return this.#process !== null;
  }

  async boot(): Promise<void> {
    const child = spawn(process.execPath, [APP, String(this.port), this.#redisUrl], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    endWithTests(child);
    this.#process = child;
    await once(child.stdout, "data");
  }

  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = null;
    if (child === null) return;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }
}

/** A page with the client. */
export class Tab {
  readonly #textOf: (selector: string) => Promise<string>;

  /** `textOf` returns the text of an element of the page. */
  constructor(textOf: (selector: string) => Promise<string>) {
    this.#textOf = textOf;
  }

  async record(): Promise<PageRecord> {
    const text = await this.#textOf("#record");
    return text === "" ? NOTHING : (JSON.parse(text) as PageRecord);
  }

  /** The states since the page was opened, with reasons. Repeated tries count once. */
  async states(): Promise<readonly string[]> {
    const { statuses } = await this.record();
    const names = statuses.map((status) =>
      `${status.state} ${"reason" in status ? status.reason : ""}`.trim(),
    );
    const text = `${names.join("\n")}\n`.replaceAll(/(waiting .+\nconnecting\n)\1+/g, "$1");
    return text.trim().split("\n");
  }
}

const NOTHING: PageRecord = { orders: [], statuses: [], gaps: [], newGlobals: [] };

/** A browser with three pages, a server in its own process, and a Redis that keeps its data over a crash. */
export class ClientRig {
  readonly redis: RedisServer;
  readonly server: ServerProcess;
  readonly #browser: Browser;
  readonly #publisher: RedisSse;
  readonly #published: number[] = [];
  #context: BrowserContext | null = null;
  #tabs: Tab[] = [];
  #complaints: string[] = [];

  private constructor(redis: RedisServer, server: ServerProcess, browser: Browser) {
    this.redis = redis;
    this.server = server;
    this.#browser = browser;
    this.#publisher = createRedisSse({ redis: redis.url });
  }

  static async start(redisProgram: string, chromiumPath: string): Promise<ClientRig> {
    const redis = await RedisServer.start(redisProgram, ["--appendonly", "yes", "--appendfsync", "always"]);
    const server = new ServerProcess(await freePort(), redis.url);
    await server.boot();
    const browser = await chromium.launch({ executablePath: chromiumPath, args: FLAGS });
    return new ClientRig(redis, server, browser);
  }

  get tabs(): readonly Tab[] {
    return this.#tabs;
  }

  /** Opens three pages, and waits until each has all events. */
  async openTabs(port: number = this.server.port): Promise<void> {
    this.#context = await this.#browser.newContext();
    for (let count = 0; count < 3; count++) await this.openTab(port);
    await this.publish(1);
    await this.allCaughtUp();
  }

  /** Turns the network of one page off. The returned function turns it on again. */
  async goOffline(index: number): Promise<() => Promise<void>> {
    const page = this.#context!.pages()[index]!;
    const devtools = await this.#context!.newCDPSession(page);
    const set = async (offline: boolean): Promise<void> => {
      const network = { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 };
      await devtools.send("Network.emulateNetworkConditions", network);
    };
    await set(true);
    return () => set(false);
  }

  async openTab(port: number = this.server.port): Promise<Tab> {
    const page = await this.#context!.newPage();
    page.on("pageerror", (error) => this.#complaints.push(error.message));
    page.on("console", (message) => {
      // The browser itself reports requests that failed.
      const text = message.text();
      if (!text.startsWith("Failed to load resource: ")) this.#complaints.push(text);
    });
    await page.goto(`http://127.0.0.1:${port}/`);
    const tab = new Tab(async (selector) => (await page.locator(selector).textContent()) ?? "");
    this.#tabs.push(tab);
    return tab;
  }

  async publish(count: number): Promise<void> {
    // After a crash of Redis, the first command connects again. It writes nothing, so it can be repeated.
    await eventually(() => this.#publisher.lastEventId("orders"));
    for (let left = count; left > 0; left--) {
      const order = this.#published.length + 1;
      await this.#publisher.publish("orders", { event: "order", data: order });
      this.#published.push(order);
    }
  }

  async allAre(state: Status["state"], tabs: readonly Tab[] = this.#tabs): Promise<void> {
    const check = async (tab: Tab): Promise<void> => {
      expect((await tab.record()).statuses.at(-1)?.state).to.equal(state);
    };
    await Promise.all(tabs.map((tab) => eventually(() => check(tab), 10_000)));
  }

  /** Expects that each page is connected and has each event once and in order, and no gap, 3 s from now at the latest. */
  async allCaughtUp(tabs: readonly Tab[] = this.#tabs): Promise<void> {
    const wanted = { orders: this.#published, gaps: [], newGlobals: [] };
    const check = async (tab: Tab): Promise<void> => {
      const { statuses, ...rest } = await tab.record();
      expect(rest).to.deep.equal(wanted);
      expect(statuses.at(-1)).to.deep.equal({ state: "open" });
    };
    await Promise.all(tabs.map((tab) => eventually(() => check(tab), CATCH_UP_MS)));
  }

  /** Throws if a page has written to its console, or had an error. */
  async closeTabs(): Promise<void> {
    await this.#context?.close();
    for (const each of [this.redis, this.server]) if (!each.running) await each.boot();
    this.#tabs = [];
    const complaints = this.#complaints;
    this.#complaints = [];
    expect(complaints, "the console of the pages").to.deep.equal([]);
  }

  async stop(): Promise<void> {
    await this.#browser.close();
    await this.#publisher.close();
    await this.server.kill();
    await this.redis.stop();
  }
}
