import { expect } from "chai";
import type { Express } from "express";
import { chromium, type BrowserContext, type Page } from "playwright-core";

import { createRedisSse, type QueueService, type RedisSse } from "../../lib/index.js";
import { sseStream, taskCancel, taskStream } from "../../middleware/express.js";
import { deferred, eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { startApp, type TestApp } from "../support/test-app.js";
import { FLAGS } from "./demo-browser.js";
import { bundleReact, type ReactBundles } from "./react-bundles.js";
import type { View, ViewProps } from "./react-views.js";

const pageWith = (html: string): string => `<!doctype html>
<title>hooks</title>
<link rel="icon" href="data:," />
<div id="root">${html}</div>
<script type="module" src="/page.js"></script>`;

for (const [version, suffix] of [
  [19, ""],
  [18, "-18"],
] as const) {
  describe(`redis-sse/react with React ${version}`, function () {
    this.timeout(30_000);

    let bundles: ReactBundles;
    let server: RedisServer;
    let context: BrowserContext;
    let sse: RedisSse;
    let queue: QueueService;
    let app: TestApp;
    let page: Page;
    let complaints: string[];
    /** The number of requests for a stream. */
    let requests: number;
    /** The query parameter `version` of these requests. */
    let versions: unknown[];

    before(async function () {
      const executablePath = await need("chromium", this);
      server = await RedisServer.start(await need("redis", this));
      bundles = await bundleReact(suffix);
      context = await chromium.launchPersistentContext("", { executablePath, args: FLAGS });
    });

    after(async () => {
      await context?.close();
      await server?.stop();
      await bundles?.remove();
    });

    beforeEach(async () => {
      sse = createRedisSse({ redis: server.url });
      queue = sse.queue();
      app = await startApp(mount);
      requests = 0;
      versions = [];
      complaints = [];
      page = await context.newPage();
      page.setDefaultTimeout(10_000);
      page.on("pageerror", (error) => complaints.push(error.message));
      page.on("console", (message) => {
        if (/error|warning/.test(message.type())) complaints.push(message.text());
      });
      await page.goto(`${app.url}/page`);
      await page.waitForFunction("window.show");
    });

    afterEach(async () => {
      await page.close();
      await eventually(async () => expect(await openStreams()).to.equal(0));
      await sse.close();
      await app.close();
      await server.admin.flushall();
      expect(complaints, "the console").to.deep.equal([]);
    });

    function mount(express: Express): void {
      express.get("/page", (_req, res) => void res.type("html").send(pageWith("")));
      express.get("/page.js", (_req, res) => res.type("js").sendFile(bundles.page));
      express.get("/server/:view", (req, res) => {
        const props = { url: "/events?channel=a" };
        res.type("html").send(pageWith(bundles.render(req.params.view as View, props)));
      });
      express.use(["/events", "/tasks"], (req, _res, next) => {
        if (req.method === "GET") {
          requests++;
          versions.push(req.query["version"]);
        }
        next();
      });
      express.get(
        "/events",
        sseStream((req) => req.query["channel"] as string, { service: sse, retryMs: 10 }),
      );
      express.get(
        "/tasks/:id",
        taskStream<{ id: string }>((req) => req.params.id, { service: sse }),
      );
      express.post(
        "/tasks/:id/cancel",
        taskCancel<{ id: string }>((req) => req.params.id, { service: sse }),
      );
    }

    const openStreams = async (): Promise<number> => (await sse.status()).sessions.open;

    const show = (view: View, props: ViewProps, isStrict = false): Promise<void> =>
      page.evaluate(([view, props, isStrict]) => window.show(view, props, isStrict), [
        view,
        props,
        isStrict,
      ] as const);

    const shows = (id: string, text: string): Promise<void> =>
      page
        .locator(`#${id}`)
        .and(page.getByText(text, { exact: true }))
        .waitFor();

    const renders = (): Promise<number> => page.evaluate("window.renders");
    const handled = (): Promise<unknown> => page.evaluate("window.handled ?? []");
    const publish = (channel: string, event: string, data: unknown): Promise<unknown> =>
      sse.publish(channel, { event, data });

    it("shows the status and the newest event, and calls the handlers of the last render", async () => {
      await show("StreamView", { url: "/events?channel=a", version: 1 });
      await shows("status", "open");
      await shows("last", "none");
      await publish("a", "count", 1);
      await shows("last", "count 1");
      await show("StreamView", { url: "/events?channel=a", version: 2 });
      await publish("a", "count", 2);
      await publish("a", "other", "text");
      await shows("last", "other text");
      expect(await handled()).to.deep.equal(["1 count 1", "2 count 2"]);
      expect(requests, "one connection for all renders").to.equal(1);
    });

    it("renders once for many events that arrive together", async () => {
      await show("StreamView", { url: "/events?channel=a" });
      await shows("status", "open");
      await publish("a", "count", 0);
      await shows("last", "count 0");
      const before = await renders();
      await Promise.all(Array.from({ length: 200 }, (_, index) => publish("a", "count", index + 1)));
      await shows("last", "count 200");
      expect(await handled()).to.have.length(201);
      expect((await renders()) - before).to.be.within(1, 20);
    });

    it("opens one connection in StrictMode, and closes it when the component is unmounted", async () => {
      await show("StreamView", { url: "/events?channel=a" }, true);
      await shows("status", "open");
      await eventually(async () => expect(await openStreams()).to.equal(1));
      expect(requests).to.equal(1);
      await page.evaluate(() => window.unmount());
      await eventually(async () => expect(await openStreams()).to.equal(0));
    });

    it("opens another stream for another URL, and none for null", async () => {
      await show("StreamView", { url: "/events?channel=a" });
      await shows("status", "open");
      await show("StreamView", { url: "/events?channel=b" });
      await shows("status", "open");
      await publish("a", "count", 1);
      await publish("b", "count", 2);
      await shows("last", "count 2");
      expect(await handled()).to.deep.equal(["0 count 2"]);
      await show("StreamView", { url: null });
      await shows("status", "closed");
      await eventually(async () => expect(await openStreams()).to.equal(0));
    });

    for (const view of ["StreamView", "TextView"] as const)
      it(`keeps the stream of ${view} open if each render has another URL function, and calls the newest one`, async () => {
        const props = { url: "/events?channel=a", isFunction: true };
        await show(view, { ...props, version: 1 });
        await shows("status", "open");
        await show(view, { ...props, version: 2 });
        await show(view, { ...props, version: 3 });
        await publish("a", "message", "Hello");
        await page.getByText("Hello").waitFor();
        expect(versions, "one connection for all renders").to.deep.equal(["1"]);
        await sse.revoke({ channel: "a" });
        await eventually(() => expect(versions).to.deep.equal(["1", "3"]));
        await shows("status", "open");
        await show(view, { url: null, isFunction: true });
        await shows("status", "closed");
        await show(view, { url: "/events?channel=b" });
        await shows("status", "open");
        expect(versions).to.deep.equal(["1", "3", undefined]);
      });

    it("shows a task whose URL is a function", async () => {
      const { id } = await queue.enqueue("kind", null, { delayMs: 60_000 });
      await show("TaskView", { url: `/tasks/${id}`, isFunction: true, version: 1 });
      await shows("status", "delayed");
      await show("TaskView", { url: `/tasks/${id}`, isFunction: true, version: 2 });
      await queue.cancel(id);
      await shows("status", "cancelled");
      expect(versions).to.deep.equal(["1"]);
    });

    it("shows the progress, the output and the end of a task", async () => {
      const gate = deferred();
      const { id } = await queue.enqueue("kind", null, { backoff: 0 });
      queue.worker(
        async ({ attempt, progress, write }) => {
          await write(`attempt ${attempt}. `);
          if (attempt === 1) throw new Error("no");
          await progress(50, "half");
          await gate.promise;
          await write("12");
        },
        { onError() {} },
      );
      await show("TaskView", { url: `/tasks/${id}` });
      await shows("message", "half");
      await shows("progress", "50");
      await shows("status", "running");
      await shows("output", "attempt 2.");
      gate.resolve();
      await shows("status", "succeeded");
      await shows("output", "attempt 2. 12");
      await shows("connection", "closed");
      await shows("error", "null");
    });

    it("cancels a task, and shows why a task cannot be watched", async () => {
      const { id } = await queue.enqueue("kind", null, { delayMs: 60_000 });
      await show("TaskView", { url: `/tasks/${id}`, cancelUrl: `/tasks/${id}/cancel` });
      await shows("status", "delayed");
      await page.locator("button").click();
      await shows("status", "cancelled");
      await shows("connection", "closed");
      expect(await queue.get(id)).to.include({ status: "cancelled" });
      await show("TaskView", { url: "/tasks/unknown" });
      await shows("error", "http-404");
      // The browser logs the status.
      expect(complaints.splice(0).join()).to.include("404");
    });

    it("shows the text of a stream while it grows, and its end", async () => {
      const writer = await sse.writer("answer");
      await show("TextView", { url: "/events?channel=answer" });
      await shows("status", "open");
      await writer.write("Hello");
      await shows("text", "Hello");
      await shows("done", "false");
      await writer.write(", world");
      await writer.end();
      await shows("text", "Hello, world");
      await shows("done", "true");
      await shows("error", "null");
    });

    it("shows a text that was broken off, and why", async () => {
      const writer = await sse.writer("broken");
      await show("TextView", { url: "/events?channel=broken" });
      await writer.write("Hello");
      await shows("text", "Hello");
      await writer.abort();
      await shows("error", "broken");
      await shows("text", "Hello");
      await shows("done", "false");
    });

    it("renders the connecting state on the server without a request, and hydrates it", async () => {
      for (const view of ["StreamView", "TextView"] as const) {
        const html = await (await fetch(`${app.url}/server/${view}`)).text();
        expect(html).to.include('<p id="status">connecting</p>');
      }
      expect(await openStreams()).to.equal(0);
      expect(requests).to.equal(0);
      await page.goto(`${app.url}/server/StreamView`);
      await page.waitForFunction("window.hydrate");
      await page.evaluate(() => window.hydrate("StreamView", { url: "/events?channel=a" }));
      await shows("status", "open");
      expect(requests).to.equal(1);
    });
  });
}
