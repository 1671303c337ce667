import { execFile } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { expect } from "chai";

import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { type CodeBlock, fileOf, FOLDER, givenFor, readCodeBlocks, ROOT } from "./code-blocks.js";

const run = promisify(execFile);

const RUN_PAGE = fileURLToPath(new URL("./run-page.js", import.meta.url));

const OPTIONS =
  "--strict --module nodenext --target es2022 --lib es2023,esnext.disposable,dom,dom.iterable --types node --ignoreConfig";

/** JavaScript is compiled as TypeScript whose parameters need no type. */
const STRICTNESS = {
  ts: "--exactOptionalPropertyTypes --noImplicitReturns",
  js: "--noImplicitAny false",
};

/** Pages with blocks that need another library or a module system. Their own tests run them. */
const ELSEWHERE = ["adapters", "browser-client", "getting-started", "migrating", "testing"];

describe("the code blocks of README.md and docs/", function () {
  this.timeout(120_000);
  let blocks: readonly CodeBlock[];
  let server: RedisServer | undefined;

  before(async () => {
    blocks = await readCodeBlocks();
    await mkdir(FOLDER, { recursive: true });
  });

  after(async () => {
    await server?.stop();
    await rm(FOLDER, { recursive: true, force: true });
  });

  for (const [language, strictness] of Object.entries(STRICTNESS)) {
    it(`compile: ${language}`, async () => {
      const checked = blocks.filter((block) => block.isChecked && block.language === language);
      expect(checked.length).to.be.greaterThan(10);
      const files = await Promise.all(
        checked.map(async (block) => {
          const file = join(FOLDER, `${fileOf(block)}.mts`);
          await writeFile(file, `${givenFor(block.code)}\n${block.code}\nexport {};\n`);
          return file;
        }),
      );
      const tsc = join(ROOT, "node_modules/.bin/tsc");
      const check = run(tsc, [...OPTIONS.split(" "), ...strictness.split(" "), ...files], { cwd: ROOT });
      await check.catch((error: { stdout: string }) => {
        throw new Error(error.stdout);
      });
    });
  }

  it("are all compiled here, or run by a test of their page", () => {
    const pages = blocks.filter(({ isChecked }) => !isChecked).map(({ page }) => page);
    expect(new Set(pages)).to.deep.equal(new Set(ELSEWHERE));
  });

  it("run without an error, page by page", async function () {
    server = await RedisServer.start(await need("redis", this));
    const runnable = blocks.filter(({ isRun }) => isRun);
    const env = {
      ...process.env,
      REDIS_URL: server.url,
      PORT: "0",
      NODE_OPTIONS: "",
      SSE_SECRET: "s".repeat(32),
    };
    for (const page of new Set(runnable.map((block) => block.page))) {
      const files = runnable.filter((block) => block.page === page).map(fileOf);
      await run(process.execPath, [RUN_PAGE, ...files], { cwd: FOLDER, env, timeout: 20_000 });
    }
  });
});
