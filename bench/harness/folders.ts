import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folders = new Set<string>();

/** A folder of ours for the time of the run. */
export function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "redis-sse-bench-"));
  folders.add(folder);
  return folder;
}

/** Removes them all, also after a failure: without waiting, since the process ends. */
export function removeFolders(): void {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
}
