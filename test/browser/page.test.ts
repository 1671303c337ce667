import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import { expect } from "chai";
import type { Locator, Page } from "playwright-core";

import { startDemo } from "../support/demo-process.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { DemoBrowser } from "./demo-browser.js";

/** Turns the direction of all text that follows it. */
const OVERRIDE = "\u202e";
const WIDTHS = [1280, 390];

describe("demo page", function () {
  this.timeout(45_000);

  let server: RedisServer;
  let browser: DemoBrowser;

  before(async function () {
    const chromium = await need("chromium", this);
    server = await RedisServer.start(await need("redis", this));
    browser = await DemoBrowser.start(chromium, await startDemo({ REDIS_URL: server.url }));
  });

  afterEach(async () => {
    await browser.closePages();
    await server.admin.flushall();
  });

  after(async () => {
    await browser?.stop();
    await server?.stop();
  });

  async function post(path: string, body: object): Promise<{ id: string }> {
    const response = await fetch(browser.demo.url + path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    expect(response.ok, `${path}: ${response.status}`).to.equal(true);
    return (await response.json()) as { id: string };
  }

  async function startTask(page: Page, kind: string, options: object = {}): Promise<Locator> {
    const { id } = await post("/api/tasks", { kind, ...options });
    const row = page.locator(`[data-testid=task][data-task-id="${id}"]`);
    await row.waitFor();
    return row;
  }

  async function send(page: Page, to: string, title: string, body: string): Promise<void> {
    const form = page.locator("[data-testid=send-form]");
    await form.locator("[name=userId]").fill(to);
    await form.locator("[name=title]").fill(title);
    await form.locator("[name=body]").fill(body);
    await form.locator("button[type=submit]").click();
    await page.locator("[data-testid=send-result][data-state=ok]").waitFor();
  }

  const widthOf = (page: Page): Promise<number> => page.evaluate("document.documentElement.scrollWidth");

  it("shows a notification only in the tabs of its user", async () => {
    const [bob, carol] = [await browser.openAs("bob"), await browser.openAs("carol")];
    const body = "<img src=x onerror=alert(1)>";
    await send(bob, "carol", "From Bob", body);
    await carol.locator("[data-testid=unread-count]", { hasText: "1" }).waitFor();
    await carol.locator("[data-testid=bell]").click();
    const item = carol.locator("[data-testid=notification]").first();
    expect(await item.textContent())
      .to.include("From Bob")
      .and.to.include(body);
    expect(await carol.locator("[data-testid=notification] img").count()).to.equal(0);
    expect(await bob.locator("[data-testid=notification]").count()).to.equal(0);
  });

  for (const width of WIDTHS) {
    it(`wraps a long kind without spaces and covers no button (window of ${width} px)`, async () => {
      const page = await browser.openAs("alice");
      await page.setViewportSize({ width, height: 800 });
      const row = await startTask(page, "W".repeat(64), { steps: 1_000, stepMs: 1_000 });
      await startTask(page, "fail", { steps: 1, stepMs: 0, attempts: 1 });
      await page.locator("[data-testid=dead-letter]").waitFor();
      expect(await widthOf(page)).to.equal(width);
      const card = (await page.locator("section.tasks").boundingBox())!;
      const box = (await row.boundingBox())!;
      expect(box.x + box.width).to.be.at.most(card.x + card.width);
      for (const button of await page.locator("main button:visible").all())
        await button.click({ trial: true });
      await row.locator("button").click();
      await page.locator(`[data-testid=task][data-status=cancelled]`).waitFor();
    });
  }

  it("shows that Redis is unavailable, dims old numbers, and recovers", async () => {
    const page = await browser.openAs("alice");
    const pill = page.locator("[data-testid=connection-state]");
    const opacityOf = (id: string): Promise<number> =>
      page.evaluate(`Number(getComputedStyle(document.querySelector("[data-testid=${id}]")).opacity)`);
    const opacities = (): Promise<number[]> =>
      Promise.all(["count-queued", "pool-headline"].map((id) => opacityOf(id)));
    await page.locator("[data-testid=count-queued]", { hasText: "0" }).waitFor();
    await page.locator("[data-testid=pool-headline]", { hasText: "1 browser" }).waitFor();
    await eventually(async () => expect(await opacities()).to.deep.equal([1, 1]));

    await server.kill();
    await page.locator("[data-testid=connection-state][data-state=reconnecting]").waitFor();
    expect(await pill.textContent()).to.match(/reconnecting.*Redis/);
    await eventually(async () => expect(Math.max(...(await opacities()))).to.be.lessThan(0.5));
    await page.locator("#send-button").click();
    await page.locator("[data-testid=send-result]", { hasText: "Redis is unavailable" }).waitFor();

    await page.reload();
    await pill.filter({ hasText: /reconnecting.*Redis/ }).waitFor();
    expect(await page.locator("[data-testid=toast]").count()).to.equal(0);

    await server.boot();
    await page.locator("[data-testid=connection-state][data-state=live]").waitFor();
    await eventually(async () => expect(await opacities()).to.deep.equal([1, 1]));
    await page.locator("#send-button").click();
    await page.locator("[data-testid=toast]").waitFor();
  });

  it("isolates Unicode direction marks inside the text that contains them", async () => {
    const page = await browser.openAs("alice");
    await startTask(page, `${OVERRIDE}kind`, { steps: 2, stepMs: 0 });
    await startTask(page, "fail", { steps: 1, stepMs: 0, attempts: 1 });
    await post("/api/notifications", { userId: "alice", title: `${OVERRIDE}title`, body: `${OVERRIDE}body` });
    await page.locator("[data-testid=toast]").waitFor();
    const places = [
      "[data-testid=toast] .toast-title",
      "[data-testid=toast] .toast-body",
      "[data-testid=task] .task-name",
      "[data-testid=task-output] .output-log",
      "[data-testid=task-output] .output-chunk",
      "[data-testid=notification] .notification-title",
      "[data-testid=notification] .notification-body",
      "[data-testid=dead-letter] strong",
      "[data-testid=dead-letter] .dead-letter-note",
      "[data-testid=dead-letter-error]",
      "[data-testid=pool-channels] li",
      "[data-testid=user-name]",
    ];
    for (const place of places) {
      await page.locator(`${place} bdi`).first().waitFor({ state: "attached" });
    }
    // Wherever the mark is shown, and not only in these places.
    const shown = `const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      const found = [];
      while (walker.nextNode()) if (walker.currentNode.data.includes("${OVERRIDE}")) found.push(walker.currentNode);
      found.filter((text) => text.parentElement.closest(".visually-hidden") === null)
        .map((text) => text.parentElement.closest("bdi") !== null)`;
    const isolated = await page.evaluate<boolean[]>(shown);
    expect(isolated.length).to.be.at.least(5);
    expect(isolated).to.not.include(false);
  });

  it("shows a first visitor the forms and three new tasks without scrolling", async () => {
    const page = await browser.openAs("alice");
    await page.locator("[data-testid=start-three]").click();
    const rows = page.locator("[data-testid=task]");
    for (const index of [0, 1, 2]) {
      await rows.nth(index).and(page.locator("[data-status=running]")).waitFor();
      await rows.nth(index).locator("[data-testid=task-output]", { hasText: "Orders are up" }).waitFor();
    }
    const shown = ["send-form", "task-form", "start-three", "connection-state", "pool-headline"];
    const all = [...shown.map((id) => page.locator(`[data-testid=${id}]`)), ...(await rows.all())];
    expect(all).to.have.length(8);
    for (const each of all) {
      const box = (await each.boundingBox())!;
      expect(box.y).to.be.at.least(0);
      expect(box.y + box.height).to.be.at.most(800);
    }
    expect(await page.evaluate("scrollY")).to.equal(0);
  });

  it("says that it is open to everybody, and rejects requests from other sites", async () => {
    const page = await browser.openAs("alice");
    expect(await page.locator("[data-testid=open-demo]").textContent()).to.match(
      /anyone .* change everything/,
    );
    const row = await startTask(page, "report", { steps: 1_000, stepMs: 1_000 });
    const action = `${browser.demo.url}/api/tasks/${await row.getAttribute("data-task-id")}/cancel`;
    const form = `<!doctype html><form method="post" action="${action}"><button>Win a prize</button></form>`;
    const site = createServer((_req, res) => res.setHeader("Content-Type", "text/html").end(form));
    site.listen(0, "127.0.0.1");
    await once(site, "listening");
    try {
      const other = await browser.context.newPage();
      await other.goto(`http://127.0.0.1:${(site.address() as AddressInfo).port}/`);
      const answered = other.waitForResponse((response) => response.url() === action);
      await other.locator("button").click();
      const answer = await answered;
      expect(answer.status()).to.equal(403);
      expect(await answer.json()).to.have.nested.property("error.code", "CROSS_SITE");
    } finally {
      site.closeAllConnections();
      site.close();
    }
    expect(await row.getAttribute("data-status")).to.equal("running");
    await row.locator("button").click();
    await page.locator("[data-testid=task][data-status=cancelled]").waitFor();
  });

  it("shows in plain words how few Redis connections the browsers need", async () => {
    const pages = [await browser.openAs("alice"), await browser.openAs("bob"), await browser.openAs("carol")];
    const panel = pages[2]!.locator("[data-testid=pool-panel]");
    await panel
      .and(pages[2]!.locator("[data-state=live]"))
      .locator("[data-testid=pool-headline]", { hasText: "3 browsers, 2 Redis connections" })
      .waitFor();
    await panel.locator("[data-testid=pool-channels]", { hasText: "notifications:carol" }).waitFor();
    expect(await panel.innerText()).to.not.match(/lease|drift|around it/i);
    expect(await panel.locator("[data-testid=pool-dedicated]").isVisible()).to.equal(false);
  });

  it("names the rule for user names if the address has an invalid one", async () => {
    const page = await browser.context.newPage();
    await page.goto(`${browser.demo.url}/?user=al%20ice`);
    const pill = page.locator("[data-testid=connection-state][data-state=stopped]");
    await pill.filter({ hasText: "stopped: invalid user name" }).waitFor();
    await page.locator("[data-testid=toast]", { hasText: "1 to 64 characters" }).waitFor();
  });

  it("says next to each field what to enter", async () => {
    const page = await browser.openAs("alice");
    const sent: string[] = [];
    page.on("request", (request) => request.method() === "POST" && sent.push(request.url()));
    const wishOf = async (id: string): Promise<string> => {
      const field = page.locator(`.field:has(#${id}[aria-invalid=true])`);
      const wish = field.locator(`#${(await page.locator(`#${id}`).getAttribute("aria-describedby"))!}`);
      return (await wish.textContent())!;
    };
    await page.locator("#send-user").fill("");
    await page.locator("#send-title").fill("  ");
    await page.locator("#send-body").fill("x".repeat(2_001));
    await page.locator("#send-button").click();
    expect(await wishOf("send-user")).to.equal("To: enter a name");
    expect(await wishOf("send-title")).to.equal("Title: enter a title");
    expect(await wishOf("send-body")).to.equal("Body: enter at most 2000 characters");
    expect(await page.locator("#send-user:focus").count()).to.equal(1);
    await page.locator("#send-user").fill("al ice");
    expect(await page.locator("#send-user[aria-invalid]").count()).to.equal(0);
    await page.locator("#send-button").click();
    expect(await wishOf("send-user")).to.equal("To: enter only letters from A to Z, digits, and . _ @ -");

    await page.locator("#task-steps").fill("0");
    await page.locator("#task-attempts").fill("1.5");
    await page.locator("[data-testid=start-three]").click();
    expect(await wishOf("task-steps")).to.equal("Steps: enter a whole number from 1 to 1000");
    expect(await wishOf("task-attempts")).to.equal("Attempts: enter a whole number from 1 to 10");
    expect(sent).to.deep.equal([]);
    expect(await widthOf(page)).to.equal(1280);
  });
});

describe("demo page with dedicated subscriptions", function () {
  this.timeout(45_000);

  let browser: DemoBrowser;

  before(async function () {
    const chromium = await need("chromium", this);
    browser = await DemoBrowser.start(chromium, await startDemo({ SUBSCRIPTIONS: "dedicated" }));
  });

  after(() => browser?.stop());

  it("shows how many Redis connections are in use", async () => {
    await browser.openAs("alice");
    const page = await browser.openAs("bob");
    await page
      .locator("[data-testid=pool-headline]", { hasText: /^2 browsers, [3-9] Redis connections$/ })
      .waitFor();
    expect(await page.locator("[data-testid=pool-dedicated]").innerText()).to.match(/2 of 200/);
    expect(await page.locator("[data-testid=pool-shared]").isVisible()).to.equal(false);
    await browser.closePages();
  });
});
