import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { expect } from "chai";

import { ROOT } from "./code-blocks.js";

/** Headings and links of a page. Text in code blocks is neither. */
interface Page {
  readonly anchors: ReadonlySet<string>;
  readonly links: readonly string[];
}

async function readPage(path: string): Promise<Page> {
  const text = (await readFile(join(ROOT, path), "utf8")).replaceAll(/^```[\s\S]*?^```$/gm, "");
  const headings = Array.from(text.matchAll(/^#+ (.*)$/gm), ([, heading]) => anchorOf(heading!));
  const ids = Array.from(text.matchAll(/<a id="([^"]+)">/g), ([, id]) => id!);
  const links = Array.from(text.matchAll(/\]\(([^)\s]+)\)/g), ([, link]) => link!);
  return {
    anchors: new Set([...headings, ...ids]),
    links: links.filter((link) => !/^[a-z]+:/.test(link)),
  };
}

/** The anchor that GitHub gives a heading. */
function anchorOf(heading: string): string {
  const text = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
  return text.replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
}

describe("the links of README.md, CHANGELOG.md, SECURITY.md and docs/", () => {
  it("lead to files and headings that exist", async () => {
    const docs = (await readdir(join(ROOT, "docs"))).filter((name) => name.endsWith(".md"));
    const broken: string[] = [];
    for (const path of [
      "README.md",
      "CHANGELOG.md",
      "SECURITY.md",
      ...docs.map((name) => join("docs", name)),
    ]) {
      for (const link of (await readPage(path)).links) {
        const [file, anchor] = link.split("#") as [string, string?];
        const target = file === "" ? path : join(dirname(path), file);
        const isFound = target.endsWith(".md")
          ? await readPage(target).then(
              ({ anchors }) => anchor === undefined || anchors.has(anchor),
              () => false,
            )
          : await readFile(join(ROOT, target)).then(
              () => true,
              () => false,
            );
        if (!isFound) broken.push(`${path}: ${link}`);
      }
    }
    expect(broken).to.deep.equal([]);
  });
});
