/**
 * Checks all Lua of a folder (`lib`, unless another one is given), and writes the scripts of each `lua/` in it as constants
 * to a `generated.ts` there: `lua/list-tasks.lua`, with what it includes, is `LIST_TASKS`. Files in an `includes/` are no
 * scripts of their own.
 */
import { readdirSync, writeFileSync } from "node:fs";
import { basename } from "node:path";

import { assemble, LuaError } from "./assemble.mjs";
import { checkFile, checkNames } from "./check.mjs";
import { shorten } from "./shorten.mjs";

const NOTE =
  "// Made from the .lua files by tools/lua/embed.mjs, which `npm run build` and `npm run lint` run. Not to be edited.\n";

const isInclude = (file) => file.includes("/includes/");

/** Those in subfolders too. @param {string} file */
const outputOf = (file) => file.replace(/^(.*)\/lua\/.*/, "$1/lua/generated.ts");

/** @param {string} file */
const constantOf = (file) => basename(file, ".lua").toUpperCase().replaceAll("-", "_");

/** @param {string} text */
const toTemplate = (text) => `\`${text.replace(/[`\\]|\$\{/g, "\\$&")}\``;

/** @param {string} root */
function embed(root) {
  const files = readdirSync(root, { recursive: true })
    .map((path) => `${root}/${path.replaceAll("\\", "/")}`)
    .filter((path) => path.endsWith(".lua"))
    .toSorted();
  for (const file of files) {
    if (outputOf(file) === file) throw new LuaError(`${file}:1: expected Lua in a folder lua/`);
    checkFile(file, !isInclude(file));
  }
  const scripts = files.filter((file) => !isInclude(file)).map(assemble);
  const faults = checkNames(scripts);
  const included = new Set(scripts.flatMap(({ files }) => [...files]));
  for (const file of files) if (!included.has(file)) faults.push(`${file}:1: no script includes this file`);
  /** @type {Map<string, Map<string, string>>} */
  const outputs = new Map();
  for (const { files, source } of scripts) {
    const [file] = files;
    const output = outputOf(file);
    const constants = outputs.get(output) ?? new Map();
    outputs.set(output, constants);
    if (constants.has(constantOf(file)))
      faults.push(`${file}:1: another script of this room has the same name`);
    constants.set(constantOf(file), source);
  }
  if (faults.length > 0) throw new LuaError(faults.join("\n"));
  for (const [output, constants] of outputs) {
    const lines = Array.from(
      constants,
      ([name, source]) => `export const ${name}: string = ${toTemplate(shorten(source))};\n`,
    );
    writeFileSync(output, [NOTE, ...lines].join("\n"));
  }
}

try {
  embed(process.argv[2] ?? "lib");
} catch (error) {
  console.error(error instanceof LuaError ? error.message : error);
  process.exitCode = 1;
}
