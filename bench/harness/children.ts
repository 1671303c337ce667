import { fork, spawn, type ChildProcess, type ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

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
  // One that cannot be started ends without having been there.
  child.once("error", (error) => {
    console.error(`bench: ${child.spawnfile}: ${error.message}`);
    process.exit(1);
  });
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

/** The next message of a script. Rejects when it ends, or says nothing for long. */
export async function messageOf(child: ChildProcess, withinMs = 60_000): Promise<unknown> {
  const name = child.spawnargs.find((word) => word.endsWith(".js")) ?? child.spawnfile;
  const settled = new AbortController();
  const { signal } = settled;
  const ended = once(child, "exit", { signal }).then(([code, cause]) => {
    throw new Error(`${name} ended with ${code ?? cause}`);
  });
  const late = sleep(withinMs, null, { signal }).then(() => {
    throw new Error(`${name} said nothing within ${withinMs / 1000} s`);
  });
  try {
    const [message] = (await Promise.race([once(child, "message", { signal }), ended, late])) as [unknown];
    return message;
  } finally {
    for (const loser of [ended, late]) loser.catch(() => {});
    settled.abort();
  }
}

/** The first message of a script that listens says where. */
export async function portOf(child: ChildProcess): Promise<number> {
  return ((await messageOf(child, 20_000)) as { port: number }).port;
}
