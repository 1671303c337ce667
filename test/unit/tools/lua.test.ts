import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { expect } from "chai";

import { encodeEnvelope } from "../../../lib/events/inbound-event.js";
import { historyKeys } from "../../../lib/history/history-keys.js";
import * as historyScripts from "../../../lib/history/lua/generated.js";
import * as queueScripts from "../../../lib/queue/lua/generated.js";
import { progressChannel } from "../../../lib/queue/task.js";

const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));

const HEADER = "-- Does it.\n-- KEYS none\n-- ARGV none\n-- Result 1\n-- Errors none\n";

describe("tools/lua/embed.mjs", () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "redis-sse-lua-"));
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  /** Returns the generated file of a folder, or the error output of the tool. */
  async function embed(files: Readonly<Record<string, string>>, room = "a"): Promise<string> {
    for (const [name, text] of Object.entries(files)) {
      await mkdir(join(folder, dirname(name)), { recursive: true });
      await writeFile(join(folder, name), text);
    }
    const failure = await promisify(execFile)(process.execPath, [
      join(ROOT, "tools/lua/embed.mjs"),
      folder,
    ]).then(
      () => null,
      ({ stderr }: { stderr: string }) => stderr,
    );
    if (failure !== null) return failure.replaceAll(`${folder}/`, "");
    return readFile(join(folder, room, "lua/generated.ts"), "utf8");
  }

  it("removes the generated file if its scripts are deleted", async () => {
    const script = `${HEADER}return 1\n`;
    await embed({ "a/lua/one.lua": script, "b/lua/two.lua": script });
    await rm(join(folder, "b/lua/two.lua"));
    await embed({});
    expect(await readdir(join(folder, "b/lua"))).to.deep.equal([]);
  });

  it("writes each script as a constant, without comments and blank lines", async () => {
    const files = {
      "a/lua/one-more.lua": `${HEADER}\nlocal text = '\\30\`\${x}' -- why\n\n-- Why.\nreturn text\n`,
      "a/lua/sub/two.lua": `${HEADER}return 2\n`,
    };
    const output = await embed(files);
    expect(output).to.include(
      "export const ONE_MORE: string = `local text = '\\\\30\\`\\${x}'\nreturn text`;\n",
    );
    expect(output).to.include("export const TWO: string = `return 2`;\n");
  });

  it("inserts an include at its first use and omits unused functions", async () => {
    const output = await embed({
      "a/lua/one.lua": `${HEADER}--- @include "includes/more"\n--- @include "includes/base"\nreturn more()\n`,
      "a/lua/two.lua": `${HEADER}--- @include "includes/more"\nreturn twice(2)\n`,
      "a/lua/includes/more.lua": `-- More.\n--- @include "base"\nlocal known, none = {}, 0\nlocal function more() return base(none) + known[1] end\n`,
      "a/lua/includes/base.lua": `-- Base.\nlocal function base(x)\n  return x\nend\nlocal function twice(x)\n  return x > 9 and twice(x) or base(2 * x)\nend\n`,
    });
    const base = "local function base(x)\n  return x\nend\n";
    expect(output).to.include(
      `ONE: string = \`${base}local known, none = {}, 0\nlocal function more() return base(none) + known[1] end\nreturn more()\``,
    );
    expect(output).to.include(
      `TWO: string = \`${base}local function twice(x)\n  return x > 9 and twice(x) or base(2 * x)\nend\nreturn twice(2)\``,
    );
  });

  it("allows includes from redis/ but not from another folder", async () => {
    const files = {
      "a/lua/one.lua": `${HEADER}--- @include "../../redis/lua/includes/x"\nreturn x\n`,
      "redis/lua/includes/x.lua": "-- X.\nlocal x = 1\n",
    };
    expect(await embed(files)).to.include("local x = 1\nreturn x`");
    const other = {
      "b/lua/one.lua": `${HEADER}--- @include "../../a/lua/includes/y"\nreturn y\n`,
      "a/lua/includes/y.lua": "-- Y.\nlocal y = 1\n",
    };
    expect(await embed(other)).to.include("b/lua/one.lua:1: includes a/lua/includes/y.lua");
  });

  const MISTAKES: Readonly<Record<string, [text: string, says: string]>> = {
    "bad syntax": ["local x =\nreturn 1", "lua/one.lua:7: <expression> expected"],
    "an operator that Lua 5.1 does not have": ["return 6 & 3", "lua/one.lua:6: "],
    "an unknown name": ["local x = 1\nreturn x + y", 'lua/one.lua:7: there is no "y" here'],
    "an assignment to a global": ["x = 1\nreturn 1", 'lua/one.lua:6: "x" is assigned'],
    "a name outside its block": ["if KEYS[1] then local x = 1; redis.call(x) end\nreturn x", '"x" here'],
    "an unused local": ["local x = 1\nreturn 1", 'lua/one.lua:6: "x" is never used'],
    "an unused local after a used one": ["local x, y = unpack(ARGV)\nreturn x", '"y" is never used'],
    "a name that is declared twice": ["local x = 1\nlocal x = x\nreturn x", '"x" is declared already'],
    "a missing include": ['--- @include "x"\nreturn 1', "lua/one.lua:6: there is no lua/x.lua"],
    "an include of itself": ['--- @include "one"\nreturn 1', 'lua/one.lua:6: "one" includes this file'],
  };
  for (const [what, [text, says]] of Object.entries(MISTAKES)) {
    it(`rejects ${what}`, async () => {
      expect(await embed({ "lua/one.lua": `${HEADER}${text}\n` })).to.include(says);
    });
  }

  it("rejects an include with a return statement", async () => {
    const files = {
      "lua/one.lua": `${HEADER}--- @include "includes/x"\nreturn 1\n`,
      "lua/includes/x.lua": "-- X.\nreturn 2",
    };
    expect(await embed(files)).to.match(/^lua\/one\.lua:7: /);
  });

  it("rejects an incomplete header and an unused include", async () => {
    expect(await embed({ "lua/one.lua": "return 1" })).to.include("lua/one.lua:1: expected a comment");
    const files = { "lua/one.lua": `${HEADER}return 1`, "lua/includes/x.lua": "-- X.\n" };
    expect(await embed(files)).to.include("lua/includes/x.lua:1: no script includes this file");
  });
});

describe("constants in Lua and TypeScript", () => {
  const texts = [...Object.values(historyScripts), ...Object.values(queueScripts)];
  const found = (pattern: RegExp): readonly string[] => [
    ...new Set(texts.flatMap((text) => Array.from(text.matchAll(pattern), ([, match]) => match!))),
  ];

  it("have the same start of an envelope", () => {
    const starts = found(/'(\\30[^']*)'/g).map((text) =>
      text.replaceAll("\\30", "\u001e").replaceAll("\\n", "\n"),
    );
    expect(starts).to.have.length.above(0);
    const start = encodeEnvelope({ event: "", data: "" }).slice(0, 7);
    for (const text of starts) expect(text.trimEnd()).to.equal(start.trimEnd());
  });

  it("have the same channel and slot of tasks", () => {
    const channel = progressChannel("x").slice(0, -1);
    expect(found(/'(\w+:)' \.\. id/g)).to.deep.equal([channel]);
    const [slot] = found(/'(\{\w+\}:)\(\.\*\)\$'/g);
    expect(historyKeys("", channel + "x").log).to.equal(`log:${slot}${channel}x`);
  });
});
