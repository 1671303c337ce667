import { execFile } from "node:child_process";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

import { expect } from "chai";

import { eventually } from "../support/eventually.js";
import { ExampleApp, ROOT } from "./example-app.js";

const run = promisify(execFile);
const read = (file: string): Promise<string> => readFile(join(ROOT, file), "utf8");

describe("apps of the documentation in a browser", function () {
  this.timeout(30_000);

  let app: ExampleApp;

  before(async function () {
    app = await ExampleApp.start(this);
  });

  afterEach(() => app.close());

  after(() => app?.stop());

  for (const name of ["plain-page", "chat"]) {
    it(`docs/browser-client.md has the files of examples/${name}`, async () => {
      const docs = await read("docs/browser-client.md");
      expect(docs).to.include(`\n\`\`\`js no-check\n${await read(`examples/${name}/app.mjs`)}\`\`\`\n`);
      expect(docs).to.include(`\n\`\`\`html\n${await read(`examples/${name}/public/index.html`)}\`\`\`\n`);
    });
  }

  it("examples/plain-page shows orders of the state and of the stream once, also after a reload", async () => {
    const { page } = await app.open(join(ROOT, "examples/plain-page"), "app.mjs");
    const orders = page.locator("li");
    await page.locator("#status", { hasText: /^Connected$/ }).waitFor();
    for (const count of [1, 2]) {
      await page.locator("button").click();
      await eventually(async () => expect(await orders.count()).to.equal(count));
    }
    await page.reload();
    await page.locator("#status", { hasText: /^Connected$/ }).waitFor();
    await page.locator("button").click();
    await eventually(async () => {
      const texts = await orders.allTextContents();
      expect(texts.map((text) => text.split(":")[0])).to.deep.equal(["Order 1", "Order 2", "Order 3"]);
    });
  });

  it("examples/chat shows the words of an answer, and needs a token for them", async () => {
    const { page } = await app.open(join(ROOT, "examples/chat"), "app.mjs");
    await page.locator("input").fill("Why?");
    await page.locator("button").click();
    await eventually(async () => {
      expect(await page.locator("#answer").textContent()).to.equal("You asked: Why?");
    });
    expect((await fetch(`${app.url}/answers/x/events`)).status).to.equal(401);
  });

  describe("in files of their own", () => {
    /** Inside the package, so that an app imports it by its own name. */
    const folder = join(ROOT, "dist/docs-app");

    beforeEach(() => mkdir(join(folder, "public"), { recursive: true }));

    afterEach(() => rm(folder, { recursive: true, force: true }));

    it("README.md shows each greeting in the page, also after Redis was down", async () => {
      const readme = await read("README.md");
      await writeFile(join(folder, "app.mjs"), /```js\n(import express[\s\S]*?)```/.exec(readme)![1]!);
      await writeFile(join(folder, "public/index.html"), /```html\n([\s\S]*?)```/.exec(readme)![1]!);
      const { page } = await app.open(folder, "app.mjs");
      const state = page.locator("#state");
      const greetings = page.locator("li");
      await state.filter({ hasText: "open" }).waitFor();
      await page.locator("button").click();
      await greetings.first().waitFor();
      expect(await greetings.allTextContents()).to.deep.equal(["Hello"]);
      await app.redis.kill();
      expect((await fetch(`${app.url}/greet/ann`, { method: "POST" })).status).to.equal(500);
      await app.redis.boot();
      await state.filter({ hasText: "open" }).waitFor();
      await eventually(async () => {
        await page.locator("button").click();
        expect(await greetings.count()).to.be.greaterThan(1);
      }, 10_000);
    });

    it("docs/react.md shows news, a report that is cancelled, and an answer", async () => {
      const docs = await read("docs/react.md");
      const blockAfter = (name: string): string =>
        new RegExp(`\`${name}\`:\n\n\`\`\`\\w+.*\n([\\s\\S]*?)\`\`\``).exec(docs)![1]!;
      for (const name of ["server.mjs", "app.jsx", "public/index.html"])
        await writeFile(join(folder, name), blockAfter(name));
      const [program, ...options] = /npx (rolldown .*)/.exec(docs)![1]!.split(" ");
      await run(join(ROOT, "node_modules/.bin", program!), options, { cwd: folder });
      const { page, errors } = await app.open(folder, "server.mjs");
      await page.locator("#news", { hasText: "open, 0 reports started" }).waitFor();
      await page.getByText("Start a report").click();
      await page.locator("#news", { hasText: "open, 1 reports started" }).waitFor();
      await page.locator("#status", { hasText: "running" }).waitFor();
      await page.locator("#output", { hasText: "page 1" }).waitFor();
      await page.getByText("Cancel").click();
      await page.locator("#status", { hasText: "cancelled" }).waitFor();
      await page.getByText("Ask").click();
      await page.locator("#answer", { hasText: "The answer is 42. (complete)" }).waitFor();
      expect(errors).to.deep.equal([]);
    });
  });
});
