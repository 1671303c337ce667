import { execFile } from "node:child_process";
import { access, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);

export const ROOT: string = fileURLToPath(new URL("../../../", import.meta.url));

/** Written once for all tests by `npm run build:package`. */
export const TARBALL: string = join(ROOT, "dist/redis-sse.tgz");

/** The first example of the README, as ES modules. */
export async function readmeExample(): Promise<string> {
  const readme = await readFile(join(ROOT, "README.md"), "utf8");
  const code = /```js\n(import express[\s\S]*?)```/.exec(readme)?.[1];
  if (code === undefined) throw new Error("README.md has no example that starts with `import express`");
  return code;
}

/** An empty project in a temporary folder. */
export class Project {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** A project with the packed redis-sse and `packages`. */
  static async create(manifest: object, ...packages: readonly string[]): Promise<Project> {
    await access(TARBALL).catch(() => {
      throw new Error(`${TARBALL} is missing. Run: npm run build:package`);
    });
    return Project.install(manifest, TARBALL, ...packages);
  }

  static async install(manifest: object, ...packages: readonly string[]): Promise<Project> {
    const project = new Project(await mkdtemp(join(tmpdir(), "redis-sse-project-")));
    try {
      await project.write("package.json", JSON.stringify({ private: true, ...manifest }));
      await project.run("npm", "install", "--no-audit", "--no-fund", "--loglevel=error", ...packages);
      return project;
    } catch (error) {
      await project.remove();
      throw error;
    }
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  write(name: string, text: string): Promise<void> {
    return writeFile(this.path(name), text);
  }

  /** The output of a program. Rejects with all of it if the program fails. */
  async run(program: string, ...args: readonly string[]): Promise<string> {
    try {
      const { stdout } = await run(program, args, { cwd: this.folder });
      return stdout;
    } catch (error) {
      const { stdout, stderr } = error as { readonly stdout: string; readonly stderr: string };
      throw new Error(`${program} ${args.join(" ")}\n${stdout}${stderr}`, { cause: error });
    }
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }
}
