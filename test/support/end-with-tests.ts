import type { ChildProcess } from "node:child_process";

const children = new Set<ChildProcess>();

// One listener for all processes. A cluster alone would exceed the listener limit of an emitter.
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});

/** Kills the child process at the latest when this process exits. */
export function endWithTests(child: ChildProcess): void {
  children.add(child);
  child.once("exit", () => children.delete(child));
}
