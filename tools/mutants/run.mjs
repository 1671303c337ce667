// Breaks the library on purpose, one behaviour at a time. Then runs the suites that must detect the change.
//
//   npm run mutants                          every mutant
//   npm run mutants -- sessions              the mutants of test/mutants/sessions.json
//   npm run mutants -- sessions "twice"      the mutants with this text in their name
//
// A mutant: { name, file, find, replace, suites }. `find` is a text that the file contains exactly once. `suites` are test
// sources. Each suite that is named must pass without the mutant, and fail with it. Works on a copy; exits with 1 if a mutant survives.
import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");
const [area, text = ""] = process.argv.slice(2);
const mutants = readdirSync(join(root, "test/mutants"))
  .filter((file) => file.endsWith(".json") && (area === undefined || file === `${area}.json`))
  .flatMap((file) =>
    JSON.parse(readFileSync(join(root, "test/mutants", file), "utf8")).map((mutant) => ({
      area: basename(file, ".json"),
      ...mutant,
    })),
  )
  .filter(({ name }) => name.includes(text));
if (mutants.length === 0) throw new Error(`No mutant fits "${area}" and "${text}"`);

const copy = mkdtempSync(join(tmpdir(), "mutants-"));
process.on("exit", () => rmSync(copy, { recursive: true, force: true }));
for (const name of execFileSync("git", ["ls-files", "-co", "--exclude-standard"], { cwd: root })
  .toString()
  .split("\n"))
  if (name !== "" && existsSync(join(root, name))) cpSync(join(root, name), join(copy, name));
symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));

const build = () => {
  for (const [command, ...args] of [
    ["node", "tools/lua/embed.mjs"],
    ["npx", "tsc", "-p", ".", "--noCheck"],
    ["npx", "tsc", "-p", "demo/public", "--noCheck"],
    ["npx", "tsc", "-p", "test/browser", "--noCheck"],
  ]) {
    const { status, stdout, stderr } = spawnSync(command, args, { cwd: copy, encoding: "utf8" });
    if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stdout}${stderr}`);
  }
};
/** Returns the title of the first failing test, or `undefined` if all tests pass. */
const failures = (suite) => {
  const built = suite.replace(/\.ts$/, ".js");
  const { stdout, status } = spawnSync(
    "npx",
    ["mocha", "--no-parallel", "--bail", "--reporter", "json", `dist/${built}`],
    { cwd: copy, encoding: "utf8", maxBuffer: 1 << 28 },
  );
  if (status === 0) return undefined;
  try {
    const report = JSON.parse(stdout.slice(stdout.indexOf("{\n")));
    const [first] = report.failures;
    if (first !== undefined) return first.fullTitle;
  } catch {
    // The process ended without a report.
  }
  return "the process ended, or failed outside of a test";
};

build();
for (const suite of new Set(mutants.flatMap(({ suites }) => suites))) {
  if (!existsSync(join(copy, suite))) throw new Error(`There is no suite ${suite}`);
  const failed = failures(suite);
  if (failed !== undefined) throw new Error(`Without a mutant, ${suite} fails: ${failed}`);
}
let survived = 0;
const began = Date.now();
for (const { area: of, name, file, find, replace, suites } of mutants) {
  const path = join(copy, file);
  const source = readFileSync(path, "utf8");
  if (source.split(find).length !== 2)
    throw new Error(`${of}: "${name}": ${file} must contain the text exactly once`);
  writeFileSync(
    path,
    source.replace(find, () => replace),
  );
  build();
  for (const suite of suites) {
    const caught = failures(suite);
    if (caught === undefined) survived++;
    console.log(
      `${caught === undefined ? "SURVIVED" : "caught  "} ${of}: ${name} (${suite}${caught === undefined ? "" : `: ${caught}`})`,
    );
  }
  writeFileSync(path, source);
}
console.log(`${mutants.length} mutants, ${survived} survived, ${Math.round((Date.now() - began) / 1000)} s`);
process.exitCode = survived > 0 ? 1 : 0;
