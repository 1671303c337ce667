import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";

import { expect } from "chai";
import type { Express } from "express";

import type { RedisSse } from "../../lib/index.js";
import { collect, createTestSse, FakeClock } from "../../testing/index.js";
import { deferred } from "../support/eventually.js";

const run = promisify(execFile);

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const EXAMPLE = join(ROOT, "examples/testing");

/** Each runner prints a JSON report. The timeouts are longer than the defaults, for a busy machine. */
const RUNNERS: Readonly<Record<string, readonly string[]>> = {
  mocha: ["mocha/bin/mocha.js", "--no-config", "--timeout", "20000", "--reporter", "json", "app.test.js"],
  vitest: ["vitest/vitest.mjs", "run", "--globals", "--test-timeout=20000", "--reporter=json"],
  jest: ["jest/bin/jest.js", "--rootDir", ".", "--transform", "{}", "--testTimeout", "20000", "--json"],
};

interface Report {
  /** Set by mocha. */
  readonly stats?: { readonly passes: number; readonly tests: number };
  /** Set by vitest and jest. */
  readonly numPassedTests?: number;
  readonly numTotalTests?: number;
}

describe("the example in examples/testing", function () {
  this.timeout(120_000);

  for (const [name, [program, ...args]] of Object.entries(RUNNERS)) {
    // A runner that does not exit by itself never answers.
    it(`passes under ${name}, which then exits by itself`, async () => {
      const { stdout } = await run(
        process.execPath,
        ["--experimental-vm-modules", "--no-warnings", join(ROOT, "node_modules", program!), ...args],
        { cwd: EXAMPLE, env: { ...process.env, NODE_OPTIONS: "" } },
      ).catch((error: { stdout: string; stderr: string }) => {
        throw new Error(`${error.stdout}\n${error.stderr}`);
      });
      const { stats, numPassedTests, numTotalTests } = JSON.parse(stdout) as Report;
      expect(numPassedTests ?? stats?.passes).to.equal(4);
      expect(numTotalTests ?? stats?.tests).to.equal(4);
    });
  }
});

describe("the examples in docs/testing.md", () => {
  const AsyncFunction = (async () => {}).constructor as new (
    ...code: string[]
  ) => (...values: unknown[]) => Promise<void>;
  let blocks: readonly string[];
  let createApp: (sse: RedisSse) => Express;

  before(async () => {
    const page = await readFile(join(ROOT, "docs/testing.md"), "utf8");
    blocks = Array.from(page.matchAll(/```js no-check\n([\s\S]*?)```/g), ([, code]) => code!);
    ({ createApp } = (await import(pathToFileURL(join(EXAMPLE, "app.js")).href)) as {
      createApp: typeof createApp;
    });
  });

  it("show the example and its test", async () => {
    const [app, test] = blocks;
    expect(test).to.equal(`// app.test.js\n${await readFile(join(EXAMPLE, "app.test.js"), "utf8")}`);
    expect(app).to.equal(`// app.js\n${await readFile(join(EXAMPLE, "app.js"), "utf8")}`);
  });

  for (const [index, what] of ["the service", "the events of a stream", "the clock", "faults"].entries()) {
    it(`run: ${what}`, async () => {
      const clock = new FakeClock();
      const sse = createTestSse({ clock });
      const listening = deferred<Server>();
      const server = createApp(sse).listen(0, "127.0.0.1", () => listening.resolve(server));
      const { port } = (await listening.promise).address() as AddressInfo;
      const names = { sse, clock, url: `http://127.0.0.1:${port}`, assert, collect, createTestSse };
      try {
        await new AsyncFunction(...Object.keys(names), blocks[index + 2]!)(...Object.values(names));
      } finally {
        await sse.close();
        server.close();
        server.closeAllConnections();
      }
      expect(blocks).to.have.length(6);
    });
  }
});
