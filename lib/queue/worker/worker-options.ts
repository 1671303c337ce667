import type { RedisSseError } from "../../errors.js";
import { assertOptions, optionError, readWholeNumber } from "../../validate.js";
import type { Task } from "../task.js";

/** Options of a worker. */
export interface WorkerOptions {
  /** Most handlers that run at once. Defaults to 1. */
  readonly concurrency?: number;
  /** Time without a sign of life after which a worker counts as dead, in milliseconds. Defaults to 30,000 ms. */
  readonly leaseMs?: number;
  /** Longest wait between two looks at the queue, in milliseconds. At most 5,000. Defaults to 5,000 ms. */
  readonly pollMs?: number;
  /** Stops the worker when it aborts, like `stop()`. */
  readonly signal?: AbortSignal;
  /**
   * Called with each value that a handler threw, except a `TaskFailure`. Clients that watch the task do not see this value.
   * By default it is written to the service's `logger` as an error.
   */
  readonly onError?: (error: unknown, task: Task) => void;
  /**
   * Called when Redis is away or refuses a call of the worker. The worker tries again by itself.
   *
   * Redis refuses a call if it is a read-only replica, if it is full, or if its ACL forbids the call. The function gets faults of the
   * same code and message at most once a minute. By default they are written to the service's `logger` as warnings, once for all
   * workers of the queue.
   */
  readonly onFault?: (error: RedisSseError) => void;
}

/** Options of `Worker.stop()`. */
export interface StopOptions {
  /** How long running tasks may continue. Then they go back to the queue. Defaults to 2,000 ms. */
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

/** Throws `ConfigError`. */
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

/** Throws `ConfigError`. */
export function readStopOptions(options: StopOptions): Required<StopOptions> {
  assertOptions("stop()", options, STOP_KNOWN);
  const { graceMs = 2_000 } = options;
  readWholeNumber("graceMs", graceMs, 0);
  return { graceMs };
}
