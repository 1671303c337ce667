import { expect } from "chai";
import type { Page } from "playwright-core";

import { need } from "../support/prerequisites.js";
import { DemoBrowser } from "./demo-browser.js";

describe("demo in a browser", function () {
  this.timeout(30_000);

  let browser: DemoBrowser;

  before(async function () {
    browser = await DemoBrowser.start(await need("chromium", this));
  });

  afterEach(() => browser.closePages());

  after(() => browser?.stop());

  const openAs = (user: string): Promise<Page> => browser.openAs(user);

  async function send(page: Page, to: string, title: string, body: string): Promise<void> {
    const form = page.locator("[data-testid=send-form]");
    await form.locator("[name=userId]").fill(to);
    await form.locator("[name=title]").fill(title);
    await form.locator("[name=body]").fill(body);
    await form.locator("button[type=submit]").click();
    await page.locator("[data-testid=send-result][data-state=ok]").waitFor();
  }

  it("shows a notification and a task's progress live", async () => {
    const page = await openAs("alice");
    await send(page, "alice", "Your report", "It is on its way");
    await page.locator("[data-testid=unread-count]", { hasText: "1" }).waitFor();
    await page.locator("[data-testid=bell]").click();
    const item = page.locator("[data-testid=notification]").first();
    await item.waitFor();
    expect(await item.textContent())
      .to.include("Your report")
      .and.to.include("It is on its way");
    await page.keyboard.press("Escape");

    const form = page.locator("[data-testid=task-form]");
    await form.locator("[name=steps]").fill("5");
    await form.locator("[name=stepMs]").fill("150");
    await form.locator("button[type=submit]").click();
    const task = page.locator("[data-testid=task]").first();
    await page.locator("[data-testid=task][data-status=running]:not([data-progress='0'])").first().waitFor();
    await page.locator("[data-testid=task][data-status=succeeded][data-progress='100']").first().waitFor();
    expect(await task.getAttribute("data-status")).to.equal("succeeded");
  });

  it("supports a different user in each tab", async () => {
    const [bob, carol] = [await openAs("bob"), await openAs("carol")];
    await send(bob, "carol", "From Bob", "<img src=x onerror=alert(1)>");
    await carol.locator("[data-testid=unread-count]", { hasText: "1" }).waitFor();
    await carol.locator("[data-testid=bell]").click();
    const item = carol.locator("[data-testid=notification]").first();
    expect(await item.textContent()).to.include("<img src=x onerror=alert(1)>");
    expect(await carol.locator("[data-testid=notification] img").count()).to.equal(0);
    expect(await bob.locator("[data-testid=notification]").count()).to.equal(0);
  });

  it("runs several tasks at once, including a failing one", async () => {
    const page = await openAs("dave");
    const form = page.locator("[data-testid=task-form]");
    await form.locator("[name=steps]").fill("4");
    await form.locator("[name=stepMs]").fill("100");
    await page.locator("[data-testid=start-three]").click();
    await form.locator("[name=kind]").selectOption("fail");
    await form.locator("[name=attempts]").fill("1");
    await form.locator("button[type=submit]").click();
    await page.locator("[data-testid=task][data-status=failed]").waitFor();
    // The third of them: a function would be evaluated in the page, whose policy forbids it.
    await page.locator("[data-testid=task][data-status=succeeded]").nth(2).waitFor();
  });

  it("shows the state of the pool", async () => {
    const page = await openAs("erin");
    await page.locator("[data-testid=pool-panel][data-state=live]").waitFor();
    await page.locator("[data-testid=pool-channels]", { hasText: "notifications:erin" }).waitFor();
    expect(await page.locator("[data-testid=pool-headline]").textContent()).to.match(
      /^\d+ browsers?, \d+ Redis connections?$/,
    );
  });
});
