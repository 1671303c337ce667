// Writes docs/api from the types and doc comments of each entry in `exports` of package.json.
//
//   node tools/docs/run.mjs           writes docs/api
//   node tools/docs/run.mjs --check   exits with 1 if docs/api is out of date
//
// Both exit with 1 if a public name has no doc comment, or refers to a type that no entry exports.
import { execSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const tools = import.meta.dirname;
const root = resolve(tools, "../..");
const target = join(root, "docs/api");

/** @param {...string} path */
const readJson = (...path) => JSON.parse(readFileSync(join(...path), "utf8"));

/** Installs the generator, unless all its packages are installed in the versions of the lock file. */
function install() {
  const { packages } = readJson(tools, "package-lock.json");
  const isCurrent = Object.entries(packages).every(([path, { version }]) => {
    const manifest = join(tools, path, "package.json");
    return path === "" || (existsSync(manifest) && readJson(manifest).version === version);
  });
  if (!isCurrent) execSync("npm ci --no-audit --no-fund --loglevel=error", { cwd: tools, stdio: "inherit" });
}

/** The source files of the entries. */
function entryPoints() {
  const entries = Object.values(readJson(root, "package.json").exports);
  const files = entries.filter((entry) => typeof entry === "object").map((entry) => entry.import.types);
  return files.map((file) => join(root, file.replace(/^\.\/dist\/(.*)\.d\.ts$/, "$1.ts")));
}

/** Writes the pages to a folder. Returns false if a doc comment is missing. @param {string} out */
async function generate(out) {
  const { Application, makeRecursiveVisitor, ReflectionKind } = await import("typedoc");
  const app = await Application.bootstrapWithPlugins({
    plugin: ["typedoc-plugin-markdown"],
    name: "redis-sse",
    entryPoints: entryPoints(),
    tsconfig: join(root, "tsconfig.package.json"),
    out,
    readme: "none",
    logLevel: "Warn",
    treatWarningsAsErrors: true,
    validation: { notDocumented: true, notExported: true, invalidLink: true },
    // Line numbers would change with each commit.
    disableSources: true,
    excludeExternals: true,
    excludeInternal: true,
    excludePrivate: true,
    excludeProtected: true,
    sort: ["source-order"],
    sortEntryPoints: false,
    groupOrder: ["Functions", "Classes", "Interfaces", "Type Aliases", "Variables"],
    router: "module",
    flattenOutputFiles: true,
    hideBreadcrumbs: true,
    hidePageHeader: true,
    hideGenerator: true,
    githubPages: false,
    useCodeBlocks: true,
    ...Object.fromEntries(
      ["interface", "class", "typeAlias"].map((kind) => [`${kind}PropertiesFormat`, "table"]),
    ),
    parametersFormat: "table",
    propertyMembersFormat: "table",
    typeDeclarationFormat: "table",
  });
  const project = await app.convert();
  if (project === undefined) return false;
  for (const { groups } of project.children)
    for (const { children } of groups) children.sort((a, b) => a.name.localeCompare(b.name, "en"));
  // The compiler orders the members of a union by their first use in any file, so the order can change.
  const visitor = makeRecursiveVisitor({ union: ({ types }) => sortLiterals(types) });
  for (const reflection of Object.values(project.reflections))
    if (!reflection.kindOf(ReflectionKind.TypeAlias)) reflection.type?.visit(visitor);
  app.validate(project);
  if (app.logger.hasErrors() || app.logger.hasWarnings()) return false;
  // Replaces the generator's own index, because that lists only the entries.
  app.renderer.postRenderAsyncJobs.push(async () =>
    writeFileSync(join(out, "README.md"), indexOf(project, app.renderer.router)),
  );
  await app.generateOutputs(project);
  return !app.logger.hasErrors();
}

/** Sorts the literals of a union. Its other members keep their places. */
function sortLiterals(types) {
  const sorted = types
    .filter(({ type }) => type === "literal")
    .toSorted((a, b) => (String(a) < String(b) ? -1 : 1));
  for (const [index, { type }] of types.entries()) if (type === "literal") types[index] = sorted.shift();
}

/** The page that lists all names. */
function indexOf(project, router) {
  const lines = [
    "# API",
    "After reading this page, you can find the description of each public name. " +
      "`npm run docs` writes these pages from the types and doc comments of the sources.",
  ];
  for (const module of project.children ?? []) {
    lines.push(`## [${module.name}](${router.getFullUrl(module)})`, textOf(module.comment));
    for (const { title, children } of module.groups ?? []) {
      const items = children.map(
        (child) => `- [\`${child.name}\`](${router.getFullUrl(child)}): ${summaryOf(child)}`,
      );
      lines.push(`### ${title}`, items.join("\n"));
    }
  }
  return `${lines.join("\n\n")}\n`;
}

const textOf = (comment) => (comment?.summary ?? []).map(({ text }) => text).join("");

/** The first sentence of a doc comment. */
function summaryOf(reflection) {
  const [paragraph = ""] = textOf(reflection.comment ?? reflection.signatures?.[0]?.comment).split("\n\n");
  const [sentence = ""] = /^.*?(?:\.(?= |$)|$)/.exec(paragraph.replaceAll("\n", " ")) ?? [];
  return sentence;
}

/** @param {string} folder @returns {Map<string, string>} */
function pagesOf(folder) {
  const names = existsSync(folder) ? readdirSync(folder).toSorted() : [];
  return new Map(names.map((name) => [name, readFileSync(join(folder, name), "utf8")]));
}

install();
const out = mkdtempSync(join(tmpdir(), "redis-sse-docs-"));
process.on("exit", () => rmSync(out, { recursive: true, force: true }));
if (await generate(out)) {
  const [before, after] = [pagesOf(target), pagesOf(out)];
  const names = new Set([...before.keys(), ...after.keys()]);
  const changed = [...names].filter((name) => before.get(name) !== after.get(name));
  if (process.argv.includes("--check")) {
    for (const name of changed) console.error(`docs/api/${name} is out of date. Run: npm run docs`);
    if (changed.length > 0) process.exitCode = 1;
  } else {
    rmSync(target, { recursive: true, force: true });
    mkdirSync(target, { recursive: true });
    for (const [name, text] of after) writeFileSync(join(target, name), text);
  }
} else process.exitCode = 1;
