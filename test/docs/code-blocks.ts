import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT: string = fileURLToPath(new URL("../../../", import.meta.url));
/** Inside the package, so that the blocks import it by its own name. */
export const FOLDER: string = join(ROOT, "dist/code-blocks");

/**
 * A `js` or `ts` block of a page. A word after the language limits the checks:
 * `no-run` for a block that needs a browser, a cluster or another file, `no-check` for code of another library.
 */
export interface CodeBlock {
  /** Name of the page without its folder and extension. */
  readonly page: string;
  readonly line: number;
  readonly language: "js" | "ts";
  readonly code: string;
  readonly isChecked: boolean;
  readonly isRun: boolean;
}

/** The code blocks of README.md and of the pages in docs/. */
export async function readCodeBlocks(): Promise<readonly CodeBlock[]> {
  const docs = (await readdir(join(ROOT, "docs"))).filter((name) => name.endsWith(".md"));
  const pages = ["README.md", ...docs.map((name) => join("docs", name))];
  return (await Promise.all(pages.map((path) => blocksOf(path)))).flat();
}

async function blocksOf(path: string): Promise<CodeBlock[]> {
  const text = await readFile(join(ROOT, path), "utf8");
  return Array.from(
    text.matchAll(/^```(js|ts)(?: (.*))?\n([\s\S]*?)^```$/gm),
    ({ 1: language, 2: word, 3: code, index }) => {
      if (word !== undefined && word !== "no-run" && word !== "no-check") {
        throw new Error(`${path}: ${word} is neither no-run nor no-check`);
      }
      return {
        page: path.replace(/^docs\//, "").replace(/\.md$/, ""),
        line: text.slice(0, index).split("\n").length,
        language: language as "js" | "ts",
        code: code!,
        isChecked: word !== "no-check",
        isRun: word === undefined,
      };
    },
  );
}

/** File name of a block, without its extension. */
export function fileOf({ page, line }: CodeBlock): string {
  return `${page}-${line}`;
}

/** The imports and declarations of the names that a block uses without defining them. */
export function givenFor(code: string): string {
  const isDefined = (name: string): boolean =>
    new RegExp(`\\b(const|let|function) ${name}\\b|import[^;]*\\b${name}\\b[^;]*from`).test(code);
  const isUsed = (name: string): boolean => new RegExp(`(?<![.\\w])${name}\\b(?!\\s*:)`).test(code);
  return Object.entries(GIVEN)
    .filter(([name]) => isUsed(name) && !isDefined(name))
    .map(([name, line]) => (line === "given" ? `import { ${name} } from "../test/docs/given.js";` : line))
    .join("\n");
}

const GIVEN: Readonly<Record<string, string>> = {
  express: 'import express from "express";',
  createRedisSse: 'import { createRedisSse } from "redis-sse";',
  sseStream: 'import { sseStream } from "redis-sse/express";',
  taskStream: 'import { taskStream } from "redis-sse/express";',
  ticketResolver: 'import { ticketResolver } from "redis-sse/express";',
  redisPoolStatus: 'import { redisPoolStatus } from "redis-sse/express";',
  bearerAuth: 'import { bearerAuth } from "redis-sse/express";',
  sse: "given",
  app: "given",
  server: "given",
  queue: "given",
  userOf: "given",
  model: "given",
  readState: "given",
  // In a browser:
  source: "declare const source: EventSource;",
  taskId: "declare const taskId: string;",
  fetchState: "declare function fetchState(): void;",
};
