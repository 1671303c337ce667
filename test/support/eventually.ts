import { setTimeout as pause } from "node:timers/promises";

/** Retries `check` until it does not throw. At the timeout, rejects with its last error. */
export async function eventually<T>(check: () => T | Promise<T>, timeoutMs = 5_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await pause(5);
  }
}

/** A promise with its `resolve` and `reject` functions. */
export function deferred<T = void>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: Error) => void;
} {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

/** Lets all ready work run: promises, `setImmediate` and the next event-loop turn. */
export async function settle(turns = 5): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Repeats `step` until `stop()`. `stop()` resolves when the last step is done. */
export function repeat(step: () => Promise<unknown>): { stop(): Promise<void> } {
  const stopped = new AbortController();
  const done = (async () => {
    while (!stopped.signal.aborted) await step();
  })();
  return {
    stop() {
      stopped.abort();
      return done;
    },
  };
}
