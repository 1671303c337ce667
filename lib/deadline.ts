import type { Clock } from "./clock.js";
import { RedisSseError } from "./errors.js";

export interface DeadlineOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** What was awaited, for the error's message. */
  readonly what: string;
  /** Ends the wait early with `ABORTED`. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Waits for `work`, but never longer than `timeoutMs` and never past `signal`: no await of this library
 * lacks one of the two. What `work` does after the wait has ended is ignored here, a rejection included.
 */
export function withDeadline<T>(work: Promise<T>, options: DeadlineOptions): Promise<T> {
  const { clock, timeoutMs, what, signal } = options;
  return new Promise<T>((resolve, reject) => {
    const finish = (): void => {
      cancelTimer();
      signal?.removeEventListener("abort", onAbort);
    };
    const onAbort = (): void => {
      finish();
      reject(new RedisSseError("ABORTED", `gave up waiting for ${what}: closing`));
    };
    const cancelTimer = clock.schedule(() => {
      finish();
      reject(new RedisSseError("TIMEOUT", `expected ${what} within ${timeoutMs} ms`));
    }, timeoutMs);
    work.then(
      (value) => {
        finish();
        resolve(value);
      },
      (error: unknown) => {
        finish();
        reject(error);
      },
    );
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** The remainder of a deadline: a promise that resolves after `delayMs`, or at once when `signal` fires. */
export function delay(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = (): void => {
      cancelTimer();
      signal?.removeEventListener("abort", finish);
      resolve();
    };
    const cancelTimer = clock.schedule(finish, delayMs);
    if (signal?.aborted) finish();
    else signal?.addEventListener("abort", finish, { once: true });
  });
}
