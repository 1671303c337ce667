import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect } from "chai";
import type { RequestHandler } from "express";
import RedisMock from "ioredis-mock";
import { chromium, type BrowserContext, type Page } from "playwright-core";

import { createRedisSse, type RedisSse } from "../../lib/index.js";
import { sseStream, type RouteParams, type SseStreamOptions } from "../../middleware/express.js";
import { need } from "../support/prerequisites.js";
import { recordingLogger } from "../support/recording-logger.js";
import { startApp, type TestApp } from "../support/test-app.js";
import { FLAGS } from "./demo-browser.js";

/** Some builds of Chromium send no cookies of other sites by default. */
const PREFERENCES = { profile: { cookie_controls_mode: 0 } };

/** Resolves with the type of the first event, or with "stopped" if the EventSource does not reconnect. */
const FIRST_EVENT = `(url, withCredentials) => new Promise((resolve) => {
  const source = new EventSource(url, { withCredentials });
  source.addEventListener("connected", ({ type }) => resolve(type));
  source.addEventListener("error", () => source.readyState === EventSource.CLOSED && resolve("stopped"));
})`;

/** Resolves with the status and the first part of the body, or with "unreadable". */
const FETCH = `async (url, options) => {
  try {
    const { status, body } = await fetch(url, { credentials: "include", ...options });
    const { value } = await body.getReader().read();
    return { status, text: new TextDecoder().decode(value) };
  } catch {
    return "unreadable";
  }
}`;

describe("pages of other origins in Chromium", function () {
  this.timeout(45_000);

  let context: BrowserContext;
  let profile: string;
  let redis: InstanceType<typeof RedisMock>;
  let service: RedisSse;
  let app: TestApp;
  /** Pages on another port. 127.0.0.1 is the site of the app, and localhost is another site. */
  let pages: TestApp;
  let otherSite: string;
  /** The cookies of the requests for which the resolver ran. */
  let resolved: (string | undefined)[];

  function stream(
    allowOrigins?: SseStreamOptions["allowOrigins"],
    channel: string | null = "a",
  ): RequestHandler<RouteParams> {
    return sseStream(
      (req) => {
        resolved.push(req.get("Cookie"));
        return channel;
      },
      { service, allowOrigins },
    );
  }

  before(async function () {
    const executablePath = await need("chromium", this);
    profile = await mkdtemp(join(tmpdir(), "redis-sse-browser-"));
    await mkdir(join(profile, "Default"));
    await writeFile(join(profile, "Default/Preferences"), JSON.stringify(PREFERENCES));
    context = await chromium.launchPersistentContext(profile, { executablePath, args: FLAGS });
    redis = new RedisMock({ host: "cross-site-pages" });
    service = createRedisSse({ redis, logger: recordingLogger().logger });
    pages = await startApp((router) => router.get("/", (_req, res) => void res.send("<title>page</title>")));
    otherSite = pages.url.replace("127.0.0.1", "localhost");
    app = await startApp((router) => {
      router.get("/login", (_req, res) => {
        res.cookie("sid", "ann", { sameSite: "none", secure: true }).send("<title>login</title>");
      });
      router.use("/plain", stream());
      router.use("/listed", stream([otherSite]));
      router.use("/denied", stream([otherSite], null));
      router.use("/any", stream("*"));
    });
    await open(`${app.url}/login`);
  });

  beforeEach(() => (resolved = []));

  afterEach(() =>
    Promise.all(
      context
        .pages()
        .slice(1)
        .map((page) => page.close()),
    ),
  );

  after(async () => {
    await context?.close();
    await service?.close();
    await app?.close();
    await pages?.close();
    await redis?.quit();
    if (profile !== undefined) await rm(profile, { recursive: true, force: true });
  });

  async function open(url: string): Promise<Page> {
    const page = await context.newPage();
    await page.goto(url);
    return page;
  }

  const call = (page: Page, code: string, path: string, more: unknown): Promise<unknown> =>
    page.evaluate(`(${code})(${JSON.stringify(app.url + path)}, ${JSON.stringify(more)})`);

  it("cannot open a stream with the cookies of the user from another site", async () => {
    const page = await open(otherSite);
    for (const path of ["/plain", "/any"])
      expect(await call(page, FIRST_EVENT, path, true)).to.equal("stopped");
    const answered = page.waitForResponse((response) => response.url() === `${app.url}/plain`);
    await call(page, FETCH, "/plain", { mode: "no-cors" });
    expect((await answered).status()).to.equal(403);
    expect(resolved).to.deep.equal([]);
  });

  it("can open and read a stream as the user if their origin is allowed", async () => {
    const page = await open(otherSite);
    expect(await call(page, FIRST_EVENT, "/listed", true)).to.equal("connected");
    // The browser first asks for the permission to send these headers.
    const headers = { Authorization: "Bearer a", "Last-Event-ID": "a", "Cache-Control": "no-cache" };
    expect(await call(page, FETCH, "/listed", { headers })).to.have.property("status", 200);
    const denied = await call(page, FETCH, "/denied", { headers });
    expect(denied).to.deep.include({ status: 403 }).and.have.property("text").that.includes("FORBIDDEN");
    expect(resolved).to.deep.equal(["sid=ann", "sid=ann", "sid=ann"]);
  });

  it('can open and read a stream without cookies with allowOrigins "*"', async () => {
    const page = await open(otherSite);
    expect(await call(page, FIRST_EVENT, "/any", false)).to.equal("connected");
    expect(resolved).to.deep.equal([undefined]);
  });

  it("can open a stream as the user from the same site, but not read it", async () => {
    const page = await open(pages.url);
    for (const path of ["/plain", "/listed", "/any"]) {
      resolved = [];
      expect(await call(page, FETCH, path, {})).to.equal("unreadable");
      expect(resolved).to.deep.equal(["sid=ann"]);
    }
  });
});
