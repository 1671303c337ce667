import luaparse from "luaparse";

import { LuaError, readLua } from "./assemble.mjs";
import { resolveNames } from "./names.mjs";

/** The globals of Redis and ioredis-mock that scripts may use. */
const GLOBALS = new Set(
  (
    "redis KEYS ARGV string table math error ipairs pairs pcall rawget select setmetatable tonumber tostring type " +
    "unpack"
  ).split(" "),
);

/** The folders of `lib/` whose Lua other folders may include. */
const SHARED = ["redis"];

/** @param {string} file */
const roomOf = (file) => file.split("/").at(file.split("/").lastIndexOf("lua") - 1);

/** @param {string} source @param {(line: number) => string} placeOf The file and the line, as text. */
function parse(source, placeOf) {
  try {
    return luaparse.parse(source, { luaVersion: "5.1", locations: true });
  } catch (error) {
    throw new LuaError(placeOf(error.line) + error.message.replace(/^\[\d+:\d+\] /, ""));
  }
}

/**
 * Checks the syntax and the header of one file.
 *
 * @param {string} file
 * @param {boolean} isScript
 */
export function checkFile(file, isScript) {
  const source = readLua(file);
  const chunk = parse(source, (line) => `${file}:${line}: `);
  const header = /^(?:--(?!-).*\n)*/.exec(source)[0];
  if (header === "") throw new LuaError(`${file}:1: expected a comment that says what this file is for`);
  const missing = ["KEYS", "ARGV", "Result", "Errors"].filter((word) => !header.includes(`\n-- ${word}`));
  if (isScript && missing.length > 0) throw new LuaError(`${file}:1: the header lacks ${missing.join(", ")}`);
  // `shorten()` removes every blank line, even inside a string.
  if (chunk.comments.some(({ raw }) => raw.startsWith("--[")) || /\[=*\[/.test(source)) {
    throw new LuaError(`${file}:1: long comments and long strings are not supported`);
  }
}

/**
 * Checks the names in scripts. A local variable of an include counts as used if at least one script uses it.
 *
 * @param {readonly ReturnType<typeof import("./assemble.mjs").assemble>[]} scripts
 * @returns {string[]} One message for each mistake.
 */
export function checkNames(scripts) {
  const faults = new Set();
  const used = new Set();
  /** The message for each declaration that a script does not use. @type {Map<string, string>} */
  const unused = new Map();
  for (const { source, origins, files } of scripts) {
    const placeOf = (line) => `${origins[line - 1].file}:${origins[line - 1].line}: `;
    const at = ({ loc }) => placeOf(loc.start.line);
    const [script] = files;
    for (const file of files) {
      const room = roomOf(file);
      if (room !== roomOf(script) && !SHARED.includes(room)) {
        faults.add(
          `${script}:1: includes ${file}; only the Lua of lib/${SHARED.join(", lib/")} is for others`,
        );
      }
    }
    const { declarations, globals } = resolveNames(parse(source, placeOf));
    for (const { name, node, isWritten } of globals) {
      if (isWritten) faults.add(`${at(node)}"${name}" is assigned, and no local variable`);
      else if (!GLOBALS.has(name)) faults.add(`${at(node)}there is no "${name}" here`);
    }
    for (const { name, node, statement, reads, isTwice } of declarations) {
      if (isTwice && name !== "_") faults.add(`${at(node)}"${name}" is declared already`);
      const place = `${at(node)}"${name}"`;
      if (reads > 0 || mayBeUnused(name, node, statement, declarations)) used.add(place);
      else unused.set(place, `${place} is never used`);
    }
  }
  for (const [place, text] of unused) if (!used.has(place)) faults.add(text);
  return [...faults];
}

/** Parameters may be unused. So may a variable before a used one, if one expression gives both their values. */
function mayBeUnused(name, node, statement, declarations) {
  if (name === "_" || statement.parameters?.includes(node)) return true;
  const index = statement.variables?.indexOf(node) ?? -1;
  if (index < (statement.init?.length ?? 1) - 1) return false;
  const later = statement.variables?.slice(index + 1);
  return declarations.some((other) => other.reads > 0 && later?.includes(other.node));
}
