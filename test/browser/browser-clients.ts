import { fileURLToPath } from "node:url";

import express, { type Express } from "express";
import { chromium, type BrowserContext } from "playwright-core";

import {
  STANDARD,
  type ClientEvent,
  type ClientUnderTest,
  type Connection,
} from "../clients/client-under-test.js";
import { FLAGS } from "./demo-browser.js";
import type { PageClient } from "./page-clients.js";

const TESTS = fileURLToPath(new URL("..", import.meta.url));
const PACKAGES = fileURLToPath(new URL("../../../node_modules", import.meta.url));

const PAGE = `<!doctype html>
<title>clients</title>
<link rel="icon" href="data:," />
<script type="importmap">
  {
    "imports": {
      "sse.js": "/packages/sse.js/lib/sse.js",
      "@microsoft/fetch-event-source": "/packages/@microsoft/fetch-event-source/lib/esm/index.js"
    }
  }
</script>
<script type="module" src="/tests/browser/page-clients.js"></script>`;

/** Chromium, with a page of its own for each connection. */
export class ClientBrowser {
  readonly #context: BrowserContext;

  private constructor(context: BrowserContext) {
    this.#context = context;
  }

  static async start(executablePath: string): Promise<ClientBrowser> {
    return new ClientBrowser(await chromium.launchPersistentContext("", { executablePath, args: FLAGS }));
  }

  /** Opens a page of the server that has the stream: the client's requests are of the same origin. */
  async connect(client: PageClient, url: string): Promise<Connection> {
    const events: ClientEvent[] = [];
    let closed = false;
    const page = await this.#context.newPage();
    await page.exposeFunction("reportEvent", (event: ClientEvent) => void events.push(event));
    await page.exposeFunction("reportClosed", () => void (closed = true));
    await page.goto(new URL("/page", url).href);
    await page.waitForFunction("window.startClient");
    await page.evaluate(([client, url]) => window.startClient(client, url), [client, url] as const);
    return {
      events,
      get closed() {
        return closed;
      },
      async close() {
        await page.evaluate(() => window.stopClient());
        await page.close();
      },
    };
  }

  async stop(): Promise<void> {
    await this.#context.close();
  }
}

/** The clients of browsers. `browser()` is called when a test runs. */
export function createBrowserClients(browser: () => ClientBrowser): readonly ClientUnderTest[] {
  return [
    {
      ...STANDARD,
      name: "EventSource of Chromium",
      mount: mountPage,
      connect: (url) => browser().connect("EventSource", url),
    },
    {
      ...STANDARD,
      name: "@microsoft/fetch-event-source",
      storesIdEarly: true,
      // It calls `onmessage` for every block.
      dispatchesEmptyBlocks: true,
      dropsLeadingLineFeeds: true,
      mount: mountPage,
      connect: (url) => browser().connect("fetch-event-source", url),
    },
    {
      ...STANDARD,
      name: "sse.js",
      mount: mountPage,
      connect: (url) => browser().connect("sse.js", url),
    },
  ];
}

function mountPage(app: Express): void {
  app.get("/page", (_req, res) => void res.type("html").send(PAGE));
  app.use("/tests", express.static(TESTS));
  // fetch-event-source imports its own modules without ".js".
  app.use("/packages", express.static(PACKAGES, { extensions: ["js"] }));
}
