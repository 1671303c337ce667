import { execFileSync } from "node:child_process";
import { posix } from "node:path";

import { expect } from "chai";

import { TARBALL } from "./project.js";

const tar = (...args: readonly string[]): string => execFileSync("tar", args, { encoding: "utf8" });

describe("the packed files", () => {
  let files: ReadonlySet<string>;

  before(() => {
    files = new Set(tar("-tzf", TARBALL).trim().split("\n"));
  });

  it("include what users need and nothing else", () => {
    expect(files).to.include.keys(
      "package/README.md",
      "package/LICENSE",
      "package/dist/lib/index.d.ts",
      "package/dist/cjs/middleware/express.js",
      "package/dist/cjs/testing/index.js",
      "package/dist/cjs/react/index.js",
      "package/docs/errors.md",
      "package/docs/react.md",
      "package/docs/testing.md",
    );
    const unwanted =
      /\/(test|demo|bench|tools)\/|CONTRIBUTING|architecture|performance|\.(map|lua)$|(?<!\.d)\.ts$/;
    expect([...files].filter((file) => unwanted.test(file))).to.deep.equal([]);
  });

  it("include each file that a packed page links to", () => {
    const pages = [...files].filter((file) => file.endsWith(".md"));
    const links = pages.flatMap((page) =>
      Array.from(tar("-xzOf", TARBALL, page).matchAll(/\]\((?!https?:|#)([^)#]+)/g), ([, link]) => ({
        page,
        target: posix.join(posix.dirname(page), link!),
      })),
    );
    expect(links.length).to.be.greaterThan(20);
    expect(links.filter(({ target }) => !files.has(target))).to.deep.equal([]);
  });
});
