import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { expect } from "chai";

import { Project, ROOT } from "./project.js";

const PACKAGES = ["express@5", "ioredis@6", "ioredis-mock@8"];

const PUBLISH = `
import { createRequire } from "node:module";
import RedisMock from "ioredis-mock";
import { createRedisSse } from "redis-sse";

const sse = createRedisSse({ redis: new RedisMock() });
const { id } = await sse.publish("news", { data: 1 });
const ofMock = createRequire(import.meta.resolve("ioredis-mock")).resolve("ioredis/package.json");
const ours = createRequire(import.meta.url).resolve("ioredis/package.json");
console.log(JSON.stringify({ id: typeof id, same: ofMock === ours }));
process.exit();
`;

describe("ioredis-mock beside ioredis 6", function () {
  this.timeout(300_000);

  it("installs with the overrides of docs/getting-started.md, and works", async () => {
    const page = await readFile(join(ROOT, "docs/getting-started.md"), "utf8");
    const [, overrides] = /```json\n(\{\s*"overrides"[\s\S]*?)```/.exec(page)!;
    const project = await Project.create(JSON.parse(overrides!) as object, ...PACKAGES);
    try {
      await project.write("app.mjs", PUBLISH);
      expect(JSON.parse(await project.run("node", "app.mjs"))).to.deep.equal({ id: "string", same: true });
    } finally {
      await project.remove();
    }
  });
});
