import { cpSync, existsSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

import { Refusal } from "./open-files.js";
import { dist } from "./paths.js";

/** What the build of another checkout is called, among the targets and in the report. */
export const BASE = "base";

/** What a target that the runner starts as a script has in common with all others. */
interface Scripted {
  readonly name: string;
  readonly label: string;
  readonly folder?: string;
}

/**
 * Copies the compiled scripts to a folder in which `redis-sse` is that checkout: they import it by its name, and all
 * else as before. Answers the folder. Throws a `Refusal`.
 */
export async function prepareBase(given: string): Promise<string> {
  const checkout = resolve(given);
  const entry = join(checkout, "dist/lib/index.js");
  if (!existsSync(checkout)) throw refusalOf(`${checkout} does not exist`);
  if (!existsSync(entry)) {
    throw refusalOf(`${entry} does not exist: run \`npm ci && npm run build\` in ${checkout}`);
  }
  try {
    await import(pathToFileURL(entry).href);
  } catch (error) {
    throw refusalOf(`${(error as Error).message}: run \`npm ci && npm run build\` in ${checkout}`);
  }
  const folder = join(dist, BASE);
  rmSync(folder, { recursive: true, force: true });
  for (const part of ["queues", "targets", "publishers"]) {
    cpSync(join(dist, part), join(folder, part), { recursive: true });
  }
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(checkout, join(folder, "node_modules/redis-sse"));
  return folder;
}

function refusalOf(reason: string): Refusal {
  return new Refusal(`expected --base as a checkout of this repository that is built, but ${reason}`);
}

/** With the base right behind ours, which is the first. */
export function withBase<Of extends Scripted>(targets: readonly Of[], folder: string | null): readonly Of[] {
  const [own, ...others] = targets as readonly [Of, ...Of[]];
  return folder === null ? targets : [own, { ...own, name: BASE, label: BASE, folder }, ...others];
}
