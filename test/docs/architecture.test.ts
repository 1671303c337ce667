import { existsSync, readFileSync } from "node:fs";

import { expect } from "chai";

/** The paths in the numbered steps of a section, each once. */
function filesOf(section: string): readonly string[] {
  const steps = section.match(/^\d+\. .*\n(?: {3}.*\n)*/gm) ?? [];
  const paths = steps.join("").matchAll(/`([\w./-]+\.(?:ts|lua))`/g);
  return [...new Set(Array.from(paths, ([, path]) => path!))];
}

describe("docs/architecture.md", () => {
  const sections = readFileSync("docs/architecture.md", "utf8")
    .split(/^## (?=Follow )/m)
    .slice(1);

  for (const section of sections) {
    const [title] = section.split("\n", 1);
    const [way] = section.split(/^## /m);

    it(`names existing files, and their number: ${title}`, () => {
      const files = filesOf(way!);
      for (const file of files) {
        const path = file.startsWith("middleware/") ? file : `lib/${file}`;
        expect(existsSync(path), path).to.equal(true);
      }
      expect(way).to.include(`in ${files.length} files`);
    });
  }
});
