import type { Clock } from "./clock.js";
import { RedisSseError } from "./errors.js";

export interface DeadlineOptions {
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** A description of `work` for the error message. */
  readonly what: string;
  /** Ends the wait early. The promise rejects with `ABORTED`. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Waits for `work`, at most `timeoutMs`, and only until `signal` is aborted. After that, the result of `work` is ignored, and so
 * is a rejection.
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
      reject(new RedisSseError("ABORTED", `Aborted while waiting for ${what}.`));
    };
    const onTimeout = (): void => {
      finish();
      reject(new RedisSseError("TIMEOUT", `Timed out after ${timeoutMs} ms while waiting for ${what}.`));
    };
    const cancelTimer = clock.schedule(onTimeout, timeoutMs);
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

/** Resolves after `delayMs`, or as soon as `signal` is aborted. */
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
