import { fork, spawn, type ChildProcess, type ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";

/** Every process that the benchmark has started and that has not ended. Nothing else is ever ended by it. */
const running = new Set<ChildProcess>();

// Each leads a process group of its own, so that what it has started ends with it, and Ctrl-C reaches us first.
const OWN_GROUP = { detached: true } as const;

/** Starts a Node script that talks over IPC. */
export function startScript(
  script: string,
  env: Readonly<Record<string, string>>,
  args: readonly string[] = [],
): ChildProcess {
  return track(
    fork(script, args, {
      ...OWN_GROUP,
      env: { ...process.env, NODE_ENV: "production", ...env },
      execArgv: ["--expose-gc"],
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    }),
  );
}

/** Starts a program; its input and output are pipes. */
export function startProgram(program: string, args: readonly string[]): ChildProcessWithoutNullStreams {
  const child = spawn(program, args, { ...OWN_GROUP, stdio: "pipe" });
  track(child);
  return child;
}

function track(child: ChildProcess): ChildProcess {
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}

/** Ends one of ours, and waits until it has ended. */
export async function stop(child: ChildProcess): Promise<void> {
  if (!running.has(child)) return;
  const exited = once(child, "exit");
  killGroup(child);
  await exited;
}

/** Ends all of them at once: the last thing that is done, also after a failure. */
export function stopAll(): void {
  for (const child of running) killGroup(child);
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // It has ended by itself in the same moment.
  }
}

/** The first message of a script, which says where it listens. */
export async function portOf(child: ChildProcess, name: string): Promise<number> {
  const { port } = await Promise.race([
    once(child, "message").then(([message]) => message as { port: number }),
    once(child, "exit").then(([code, signal]) => {
      throw new Error(`${name} ended with ${code ?? signal} before it listened`);
    }),
    deadline(20_000, `${name} did not listen within 20 s`),
  ]);
  return port;
}

async function deadline(ms: number, message: string): Promise<never> {
  await new Promise((resolve) => setTimeout(resolve, ms).unref());
  throw new Error(message);
}
