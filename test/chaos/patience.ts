import { setTimeout as pause } from "node:timers/promises";

/** Rejects at the timeout. The later result of the work is ignored. */
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
 * Retries after short delays until the attempt resolves. On an idle machine this takes moments. The timeout is for a
 * busy machine.
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

/** Milliseconds of the monotonic clock, which all processes of a machine share. */
export function machineNow(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export function fail(why: string): never {
  throw new Error(why);
}
