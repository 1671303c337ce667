import { expect } from "chai";
import type { Locator, Page } from "playwright-core";

import { need } from "../support/prerequisites.js";
import { DemoBrowser } from "./demo-browser.js";

interface Wish {
  readonly kind: string;
  readonly steps?: number;
  readonly stepMs?: number;
  readonly delayMs?: number;
  readonly attempts?: number;
}

describe("tasks of the demo in a browser", function () {
  this.timeout(45_000);

  let browser: DemoBrowser;

  before(async function () {
    browser = await DemoBrowser.start(await need("chromium", this));
  });

  afterEach(() => browser.closePages());

  after(() => browser?.stop());

  /** Starts one by the form; answers its row, which every tab has the like of. */
  async function start(page: Page, { kind, ...numbers }: Wish): Promise<string> {
    const form = page.locator("[data-testid=task-form]");
    await form.locator("[name=kind]").selectOption(kind);
    for (const [name, value] of Object.entries({ delayMs: 0, attempts: 3, ...numbers })) {
      await form.locator(`[name=${name}]`).fill(String(value));
    }
    const answered = page.waitForResponse((response) => response.request().method() === "POST");
    await form.locator("button[type=submit]").click();
    const { id } = (await (await answered).json()) as { id: string };
    return `[data-testid=task][data-task-id="${id}"]`;
  }

  const outputIn = (page: Page, row: string): Locator => page.locator(`${row} [data-testid=task-output]`);

  it("shows the output of a task live", async () => {
    const page = await browser.openAs("alice");
    const row = await start(page, { kind: "report", steps: 8, stepMs: 150 });
    await page.locator(`${row}[data-status=running]:not([data-progress="0"])`).waitFor();
    await outputIn(page, row).filter({ hasText: "attempt 1: 8 steps" }).waitFor();
    await outputIn(page, row).filter({ hasText: "Orders are up" }).waitFor();
    await page.locator(`${row}[data-status=succeeded][data-progress="100"]`).waitFor();
    const text = (await outputIn(page, row).textContent()) ?? "";
    expect(text).to.equal("attempt 1: 8 steps of 150 msOrders are up by a tenth, returns are 8 steps done");
    expect(await page.locator(`${row} button`).isVisible()).to.equal(false);
  });

  it("shows when a failed task is retried, and the number of the attempt", async () => {
    const page = await browser.openAs("alice");
    const row = await start(page, { kind: "flaky", steps: 4, stepMs: 20 });
    await page
      .locator(`${row}[data-status=delayed] [data-testid=task-attempt]`)
      .filter({ hasText: /^Attempt 2 of 3, again (in 1 s|now)$/ })
      .waitFor();
    await page
      .locator(`${row} [data-testid=task-message]`, { hasText: "The remote server did not respond" })
      .waitFor();
    await page.locator(`${row}[data-status=succeeded][data-attempt="3"]`).waitFor();
    const text = (await outputIn(page, row).textContent()) ?? "";
    expect(text).to.include("Attempt 2").and.to.include("Attempt 3");
  });

  it("cancels a running and a delayed task", async () => {
    const page = await browser.openAs("alice");
    const running = await start(page, { kind: "report", steps: 1000, stepMs: 1000 });
    const waiting = await start(page, { kind: "reminder", delayMs: 3_600_000 });
    await page.locator(`${running}[data-status=running]`).waitFor();
    await page
      .locator(`${waiting}[data-status=delayed] [data-testid=task-attempt]`, { hasText: "Starts in 60 min" })
      .waitFor();
    for (const row of [running, waiting]) {
      await page.locator(`${row} button`).focus();
      await page.keyboard.press("Enter");
      await page.locator(`${row}[data-status=cancelled]`).waitFor();
      // Who works by keyboard is not thrown back to the top of the page.
      expect(await page.locator(`${row} summary:focus`).count()).to.equal(1);
    }
    await page.locator("[data-testid=count-cancelled]", { hasText: /^2$/ }).waitFor();
    await page.locator("[data-testid=count-running]", { hasText: /^0$/ }).waitFor();
  });

  it("lists, requeues and purges a dead letter", async () => {
    const page = await browser.openAs("alice");
    const row = await start(page, { kind: "fail", steps: 40, stepMs: 50, attempts: 1 });
    await page.locator(`${row}[data-status=failed]`).waitFor();
    const letter = page.locator(`[data-testid=dead-letter]`);
    await letter.locator("[data-testid=dead-letter-error]", { hasText: "ECONNREFUSED" }).waitFor();
    expect(await page.locator(row).textContent()).to.not.include("ECONNREFUSED");
    await letter.locator("[data-action=requeue]").click();
    await page.locator(`${row}[data-status=running]`).waitFor();
    await page.locator(`${row}[data-status=failed]`).waitFor();
    await letter.locator("[data-action=purge]").click();
    await letter.waitFor({ state: "detached" });
    await page.locator(row).waitFor({ state: "detached" });
  });

  it("does not show the error of a task without the token", async () => {
    const page = await browser.openAs("alice");
    // Set in the new document only: the present one asks every two seconds, and would be refused once more.
    await page.addInitScript('sessionStorage.setItem("redis-sse-demo:debug-token", "\\u00e9")');
    await page.reload();
    await start(page, { kind: "fail", steps: 1, stepMs: 1, attempts: 1 });
    const letter = page.locator("[data-testid=dead-letter]").first();
    await letter.waitFor();
    expect(await letter.textContent()).to.not.include("ECONNREFUSED");
    await letter.locator("[data-action=purge]").click();
    await letter.waitFor({ state: "detached" });
    // Asked once for the pool and once for the dead letters, and not again.
    browser.forgive(/401/, 2);
  });

  it("shows the current state of each task after a reload and in a second tab, and continues", async () => {
    const page = await browser.openAs("alice");
    const long = await start(page, { kind: "report", steps: 60, stepMs: 120 });
    const short = await start(page, { kind: "import", steps: 2, stepMs: 1 });
    await page.locator(`${short}[data-status=succeeded]`).waitFor();
    await outputIn(page, long).filter({ hasText: "Orders are up" }).waitFor();
    const other = await browser.openAs("bob");
    await page.reload();
    for (const tab of [page, other]) {
      await tab.locator(`${short}[data-status=succeeded][data-progress="100"]`).waitFor();
      await tab.locator(`${long}[data-status=running]`).waitFor();
      // What was written before is there once, and the rest follows.
      await outputIn(tab, long).filter({ hasText: "attempt 1: 60 steps" }).waitFor();
      await tab.locator(`${short} summary`).click();
      await outputIn(tab, short).filter({ hasText: "Orders are" }).waitFor();
    }
    for (const tab of [page, other]) {
      await tab.locator(`${long}[data-status=succeeded]`).waitFor();
      const text = (await outputIn(tab, long).textContent()) ?? "";
      expect(text.match(/attempt 1/g)).to.have.length(1);
      expect(text).to.match(/60 steps done$/);
    }
  });

  it("opens only one event stream for all tasks", async () => {
    const page = await browser.openAs("alice");
    const streams: string[] = [];
    page.on("request", (request) => {
      if (request.headers()["accept"] === "text/event-stream") streams.push(request.url());
    });
    await page.reload();
    await page.locator("[data-testid=connection-state][data-state=live]").waitFor();
    const row = await start(page, { kind: "report", steps: 3, stepMs: 20 });
    await page.locator(`${row}[data-status=succeeded]`).waitFor();
    expect(streams).to.have.length(1);
  });

  for (const width of [360, 1280]) {
    it(`is not wider than a window of ${width} px`, async () => {
      const page = await browser.openAs("alice");
      await page.setViewportSize({ width, height: 900 });
      const row = await start(page, { kind: "flaky", steps: 4, stepMs: 20, attempts: 3 });
      await page.locator(`${row}[data-status=delayed]`).waitFor();
      expect(await page.evaluate("document.documentElement.scrollWidth")).to.equal(width);
    });
  }
});
