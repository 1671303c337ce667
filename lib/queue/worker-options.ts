import { ConfigError, type RedisSseError } from "../errors.js";
import { printable } from "../log.js";
import { describeThrown } from "../thrown.js";
import { assertKnown, assertObject, describe, readWholeNumber } from "../validate.js";
import type { Task } from "./task.js";

export interface WorkerOptions {
  /** Handlers at once. Default 1. */
  readonly concurrency?: number;
  /** Milliseconds after which a worker that does not report back is taken for dead. Default 30,000. */
  readonly leaseMs?: number;
  /** The longest wait between two looks at the queue, in milliseconds, at most 5,000. Default 5,000. */
  readonly pollMs?: number;
  /** Stops the worker, as `stop()` does. */
  readonly signal?: AbortSignal;
  /**
   * Called with what a handler threw, unless that is a `TaskFailure`: whoever watches the task does not learn
   * it, so the app has to. Default: `console.error`.
   */
  readonly onError?: (error: unknown, task: Task) => void;
  /**
   * Called when Redis is away or refuses a call of the worker: it is a read-only replica, full, or its ACL forbids the call.
   * The worker tries again by itself. A fault of the same code and message is told at most once a minute. Default:
   * `console.warn`, once for all workers of the queue.
   */
  readonly onFault?: (error: RedisSseError) => void;
}

export interface StopOptions {
  /** How long tasks that are under way may go on; then they go back to the queue. Default 2,000 ms. */
  readonly graceMs?: number;
}

/** `WorkerOptions` with what counts where they say nothing. */
export type WorkerSettings = Omit<Required<WorkerOptions>, "signal" | "onFault"> &
  Pick<WorkerOptions, "signal" | "onFault">;

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
  assertObject("options", options);
  assertKnown("options", options, KNOWN);
  const {
    concurrency = 1,
    leaseMs = 30_000,
    pollMs = MAX_POLL_MS,
    signal,
    onError = printError,
    onFault,
  } = options;
  readWholeNumber("concurrency", concurrency, 1, 1_000);
  readWholeNumber("leaseMs", leaseMs, 10, 24 * 3600 * 1000);
  readWholeNumber("pollMs", pollMs, 1, MAX_POLL_MS);
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new ConfigError(`expected signal as an AbortSignal, got ${describe(signal)}`);
  }
  if (typeof onError !== "function") {
    throw new ConfigError(`expected onError as a function, got ${typeof onError}`);
  }
  if (onFault !== undefined && typeof onFault !== "function") {
    throw new ConfigError(`expected onFault as a function, got ${typeof onFault}`);
  }
  return {
    concurrency,
    leaseMs,
    pollMs,
    onError,
    ...(signal !== undefined && { signal }),
    ...(onFault !== undefined && { onFault }),
  };
}

/** Throws `ConfigError`. */
export function readStopOptions(options: StopOptions): Required<StopOptions> {
  assertObject("stop()", options);
  assertKnown("stop()", options, STOP_KNOWN);
  const { graceMs = 2_000 } = options;
  readWholeNumber("graceMs", graceMs, 0);
  return { graceMs };
}

function printError(error: unknown, { id, kind }: Task): void {
  const print = (what: unknown): void =>
    console.error("redis-sse: task %s (%s) failed:", id, printable(kind), what);
  try {
    print(error);
  } catch {
    // Some values throw when they are printed.
    print(describeThrown(error));
  }
}
