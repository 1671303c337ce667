import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { expect } from "chai";
import RedisMock from "ioredis-mock";

import { createRedisSse, type RedisSse } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";

const PAGE = fileURLToPath(new URL("../../../docs/tasks.md", import.meta.url));
const FOLDER = fileURLToPath(new URL("../../tasks-docs", import.meta.url));

describe("the examples in docs/tasks.md", () => {
  before(() => mkdir(FOLDER, { recursive: true }));
  after(() => rm(FOLDER, { recursive: true, force: true }));

  it("run a computation in a worker thread and cancel it", async () => {
    const page = await readFile(PAGE, "utf8");
    const thread = /```js no-run\n(\/\/ primes\.mjs[\s\S]*?)```/.exec(page)?.[1];
    const handler = /```js\n(import { once }[\s\S]*?)```/.exec(page)?.[1];
    expect(thread, "the thread").to.be.a("string");
    expect(handler, "the handler").to.be.a("string");
    const [imports, rest] = handler!.split("\n\n", 2);
    const main = join(FOLDER, "main.mjs");
    await writeFile(join(FOLDER, "primes.mjs"), thread!);
    await writeFile(main, `${imports}\nexport function work(sse) {\n${rest}\n}\n`);
    const { work } = (await import(pathToFileURL(main).href)) as { work: (sse: RedisSse) => void };
    const sse = createRedisSse({ redis: new RedisMock({ host: "tasks-docs" }) });
    try {
      work(sse);
      const queue = sse.queue("primes");
      const { id } = await queue.enqueue("count", { max: 10_000 });
      await eventually(async () => expect(await queue.get(id)).to.include({ result: 1_229 }));
      const endless = await queue.enqueue("count", { max: 1e15 });
      await eventually(() => expect(queue.statistics.running).to.equal(1));
      expect(await queue.cancel(endless.id)).to.equal(true);
      await eventually(() => expect(queue.statistics.running).to.equal(0));
    } finally {
      await sse.close();
    }
  });
});
