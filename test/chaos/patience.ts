import { setTimeout as pause } from "node:timers/promises";

/** Rejects when the work takes longer; what it does afterwards is ignored. */
export async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T> {
  const timer = new AbortController();
  const late = pause(timeoutMs, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`no answer within ${timeoutMs} ms`);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    late.catch(() => {});
    timer.abort();
  }
}

/**
 * Tries again, at short pauses, until the attempt does not reject. All that is awaited here takes moments on a
 * machine at rest; the deadline is for one that is not.
 */
export async function until<T>(what: string, attempt: () => Promise<T>, timeoutMs = 30_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) {
        const why = error instanceof Error ? error.message : String(error);
        throw new Error(`expected within ${timeoutMs / 1_000} s that ${what}: ${why}`, { cause: error });
      }
    }
    await pause(50);
  }
}

/** Milliseconds of the one clock that all processes of a machine share and that nobody sets. */
export function machineNow(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export function fail(why: string): never {
  throw new Error(why);
}
