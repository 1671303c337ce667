import type { ChildProcess } from "node:child_process";

const children = new Set<ChildProcess>();

// One listener for all: a topology alone has more servers than an emitter takes listeners without a warning.
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});

/** Ends a process with this one at the latest. */
export function endWithTests(child: ChildProcess): void {
  children.add(child);
  child.once("exit", () => children.delete(child));
}
