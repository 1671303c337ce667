import type { RedisSseError } from "../../errors.js";
import { assertOptions, optionError, readWholeNumber } from "../../validate.js";
import type { Task } from "../task.js";

/** Options of a worker. */
export interface WorkerOptions {
  /**
   * Maximum number of handlers that run at once, from 1 to 1,000.
   *
   * @defaultValue 1
   */
  readonly concurrency?: number;
  /**
   * Length of the lease of a running task, in milliseconds. From 10 ms to 24 hours.
   *
   * The worker renews its leases. If it crashes or is blocked for longer, its leases expire, and other workers start
   * its tasks again.
   *
   * @defaultValue 30_000
   */
  readonly leaseMs?: number;
  /**
   * Longest wait between two looks at the queue, in milliseconds. From 1 to 5,000.
   *
   * @defaultValue 5_000
   */
  readonly pollMs?: number;
  /** A signal that stops the worker when it aborts, like `stop()`. */
  readonly signal?: AbortSignal;
  /**
   * Called with each value that a handler throws, except a `TaskFailure`. Clients that watch the task do not get this
   * value.
   *
   * @defaultValue the value is written to the service's `logger` as an error
   */
  readonly onError?: (error: unknown, task: Task) => void;
  /**
   * Called if Redis is unavailable or refuses a call of the worker. The worker tries again by itself.
   *
   * Redis refuses a call if it is full, is a read-only replica, or denies the call by an ACL rule. The function gets
   * each code and message at most once a minute.
   *
   * @defaultValue the error is written to the service's `logger` as a warning, once for all workers of the queue
   */
  readonly onFault?: (error: RedisSseError) => void;
}

/** Options of `Worker.stop()`. */
export interface StopOptions {
  /**
   * Grace period for running tasks, in milliseconds. Tasks that still run after it go back to the queue.
   *
   * @defaultValue 2_000
   */
  readonly graceMs?: number;
}

/** `WorkerOptions` with their defaults. */
export type WorkerSettings = Required<Pick<WorkerOptions, "concurrency" | "leaseMs" | "pollMs">> &
  Pick<WorkerOptions, "signal" | "onError" | "onFault">;

const KNOWN: ReadonlySet<string> = new Set<keyof WorkerOptions>([
  "concurrency",
  "leaseMs",
  "pollMs",
  "signal",
  "onError",
  "onFault",
]);
const STOP_KNOWN: ReadonlySet<string> = new Set<keyof StopOptions>(["graceMs"]);

const MAX_POLL_MS = 5_000;

/** Checks the options of a worker. Throws `ConfigError`. */
export function readWorkerOptions(options: WorkerOptions): WorkerSettings {
  assertOptions("options", options, KNOWN);
  const { concurrency = 1, leaseMs = 30_000, pollMs = MAX_POLL_MS, signal, onError, onFault } = options;
  readWholeNumber("concurrency", concurrency, 1, 1_000);
  readWholeNumber("leaseMs", leaseMs, 10, 24 * 3600 * 1000);
  readWholeNumber("pollMs", pollMs, 1, MAX_POLL_MS);
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw optionError("signal as an AbortSignal", signal);
  }
  if (onError !== undefined && typeof onError !== "function")
    throw optionError("onError as a function", onError);
  if (onFault !== undefined && typeof onFault !== "function") {
    throw optionError("onFault as a function", onFault);
  }
  return {
    concurrency,
    leaseMs,
    pollMs,
    ...(onError !== undefined && { onError }),
    ...(signal !== undefined && { signal }),
    ...(onFault !== undefined && { onFault }),
  };
}

/** Checks the options of `stop()`. Throws `ConfigError`. */
export function readStopOptions(options: StopOptions): Required<StopOptions> {
  assertOptions("stop()", options, STOP_KNOWN);
  const { graceMs = 2_000 } = options;
  readWholeNumber("graceMs", graceMs, 0);
  return { graceMs };
}
