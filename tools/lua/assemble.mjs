import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const INCLUDE = /^\s*--- @include "([^"]+)"$/;

/** A mistake in a Lua file. Its message starts with the file and the line. */
export class LuaError extends Error {}

/** @param {string} file */
export const readLua = (file) => readFileSync(file, "utf8").replaceAll("\r\n", "\n");

/**
 * Returns a script with the text of its includes. Each file is inserted only once, at its first include. So every file can
 * include all files that it needs.
 *
 * @param {string} file
 * @returns {{ source: string, origins: { file: string, line: number }[], files: Set<string> }} `origins` has the
 *   file and the line number of each line.
 */
export function assemble(file) {
  /** @type {string[]} */
  const lines = [];
  /** @type {{ file: string, line: number }[]} */
  const origins = [];
  const files = new Set([file]);

  /** @param {string} path @param {readonly string[]} parents */
  function add(path, parents) {
    readLua(path)
      .split("\n")
      .forEach((text, index) => {
        const target = INCLUDE.exec(text)?.[1];
        if (target === undefined) {
          lines.push(text);
          origins.push({ file: path, line: index + 1 });
          return;
        }
        const included = `${join(dirname(path), target)}.lua`;
        if (included === path || parents.includes(included)) {
          throw new LuaError(`${path}:${index + 1}: "${target}" includes this file`);
        }
        if (files.has(included)) return;
        files.add(included);
        try {
          add(included, [...parents, path]);
        } catch (error) {
          if (error.code !== "ENOENT") throw error;
          throw new LuaError(`${path}:${index + 1}: there is no ${included}`);
        }
      });
  }

  add(file, []);
  return { source: lines.join("\n"), origins, files };
}
