import { ConfigError, RedisSseError } from "../errors.js";
import { assertObject, assertOptions, optionError, readWholeNumber } from "../validate.js";
import { readBackoff, type Backoff } from "./backoff.js";
import { assertTaskId } from "./task.js";

/** Options of one task. */
export interface EnqueueOptions {
  /**
   * Id of the task: 1 to 128 characters of A-Z a-z 0-9 _ -. It must be unique over all queues.
   *
   * @defaultValue a random UUID
   */
  readonly id?: string | undefined;
  /**
   * Time until the task is due, in milliseconds. At most a year.
   *
   * @defaultValue 0
   */
  readonly delayMs?: number | undefined;
  /**
   * When the task is due: a date, or milliseconds since 1970. A past time is due at once. You cannot combine it with
   * `delayMs`.
   */
  readonly runAt?: Date | number | undefined;
  /**
   * Priority, from -100 to 100. Higher priorities start first. Tasks of equal priority start in the order of
   * `enqueue()`.
   *
   * @defaultValue 0
   */
  readonly priority?: number | undefined;
  /**
   * Maximum number of attempts.
   *
   * @defaultValue the queue's value
   */
  readonly attempts?: number | undefined;
  /**
   * Wait between two attempts. A number is a fixed wait in milliseconds.
   *
   * @defaultValue the queue's value
   */
  readonly backoff?: Backoff | number | undefined;
  /**
   * Time limit of one attempt, in milliseconds. After that the attempt fails, and its `signal` aborts.
   *
   * @defaultValue the queue's value
   */
  readonly timeoutMs?: number | undefined;
  /**
   * How long the task can be read after it succeeded or was cancelled, in milliseconds.
   *
   * @defaultValue the queue's value
   */
  readonly resultTtlMs?: number | undefined;
  /**
   * A key that allows one task at a time. While a task with this key is unfinished, `enqueue()` resolves to that task.
   *
   * With `windowMs`, the key counts for that time after the task was enqueued, also if the task has finished. A key has
   * 1 to 256 characters in one line. Each queue has its own keys.
   */
  readonly deduplicate?:
    | string
    | {
        /** Two tasks with the same key are duplicates. */
        readonly key: string;
        /**
         * How long the key counts after the task was enqueued, in milliseconds.
         *
         * @defaultValue until the task is finished
         */
        readonly windowMs?: number;
      }
    | undefined;
}

/** Options of a task that its worker reads. They are stored with the task. */
export interface TaskSettings {
  readonly backoff?: Required<Backoff>;
  readonly timeoutMs?: number;
  readonly resultTtlMs?: number;
}

/** Options of a task that a queue can set for all its tasks. */
export type TaskDefaults = Pick<EnqueueOptions, "attempts" | "backoff" | "timeoutMs" | "resultTtlMs">;

/** The options of a task, in the form that the script reads. */
export interface EnqueueSettings {
  readonly id: string | undefined;
  /** One option in each line. Empty if no option was given. */
  readonly extra: string;
}

export const MAX_ATTEMPTS = 1_000;
export const YEAR_MS: number = 365 * 24 * 3_600_000;

const KNOWN: ReadonlySet<string> = new Set<keyof EnqueueOptions>([
  "id",
  "delayMs",
  "runAt",
  "priority",
  "attempts",
  "backoff",
  "timeoutMs",
  "resultTtlMs",
  "deduplicate",
]);

/**
 * Checks the options of `enqueue()`.
 *
 * An invalid id or key throws `INVALID_TASK`, because it often comes from a request. Any other invalid option throws
 * `ConfigError`.
 */
export function readEnqueueOptions(options: EnqueueOptions, resultTtlMs: number): EnqueueSettings {
  assertOptions("the task's options", options, KNOWN);
  const { id, priority = 0, attempts } = options;
  if (id !== undefined) assertTaskId(id);
  readWholeNumber("priority", priority, -100, 100);
  if (attempts !== undefined) readWholeNumber("attempts", attempts, 1, MAX_ATTEMPTS);
  const { key, windowMs } = readDeduplicate(options.deduplicate);
  const settings = readSettings(options, windowMs === "" ? 0 : windowMs, resultTtlMs);
  const parts = [id === undefined ? "" : "1", priority, readWhen(options), attempts ?? "", windowMs];
  const extra = [...parts, settings, key];
  const isPlain = extra.every((part) => part === "" || part === 0);
  return { id, extra: isPlain ? "" : extra.join("\n") };
}

/** Fills in the queue's defaults for options that the task does not set. */
export function withDefaults(options: EnqueueOptions, defaults: TaskDefaults): EnqueueOptions {
  const names = Object.keys(defaults) as (keyof TaskDefaults)[];
  if (names.length === 0) return options;
  assertObject("the task's options", options);
  const left = names.filter((name) => options[name] === undefined);
  return { ...options, ...Object.fromEntries(left.map((name) => [name, defaults[name]])) };
}

function readWhen({ delayMs, runAt }: EnqueueOptions): string {
  if (delayMs !== undefined && runAt !== undefined) {
    throw new ConfigError("delayMs and runAt exclude each other. Pass one of them.");
  }
  if (delayMs !== undefined) return `+${readWholeNumber("delayMs", delayMs, 0, YEAR_MS)}`;
  if (runAt === undefined) return "";
  const time = runAt instanceof Date ? runAt.getTime() : runAt;
  if (typeof time === "number" && time >= 0 && time <= 8.64e15) return String(Math.floor(time));
  throw optionError("runAt as a valid Date or milliseconds since 1970", runAt);
}

function readSettings(options: EnqueueOptions, windowMs: number, queueTtlMs: number): string {
  const { backoff, timeoutMs, resultTtlMs } = options;
  const settings: { -readonly [Name in keyof TaskSettings]: TaskSettings[Name] } = {};
  if (backoff !== undefined) settings.backoff = readBackoff(backoff);
  if (timeoutMs !== undefined) settings.timeoutMs = readWholeNumber("timeoutMs", timeoutMs, 1);
  if (resultTtlMs !== undefined)
    settings.resultTtlMs = readWholeNumber("resultTtlMs", resultTtlMs, 1, YEAR_MS);
  // `enqueue()` resolves to the first task of a key during the whole window, so that task must not be deleted earlier.
  const ttlMs = resultTtlMs ?? queueTtlMs;
  if (windowMs > ttlMs) settings.resultTtlMs = windowMs;
  return Object.keys(settings).length === 0 ? "" : JSON.stringify(settings);
}

function readDeduplicate(given: EnqueueOptions["deduplicate"]): { key: string; windowMs: number | "" } {
  if (given === undefined) return { key: "", windowMs: "" };
  const isKey = typeof given !== "object" || given === null || Array.isArray(given);
  const { key, windowMs } = isKey ? { key: given } : readObject(given);
  // The script reads the key as one line.
  if (typeof key !== "string" || key === "" || key.length > 256 || /[\r\n]/.test(key)) {
    throw new RedisSseError(
      "INVALID_TASK",
      "expected deduplicate as a key of 1 to 256 characters in one line, or { key, windowMs }",
    );
  }
  if (windowMs === undefined) return { key, windowMs: "" };
  return { key, windowMs: readWholeNumber("deduplicate.windowMs", windowMs, 1, YEAR_MS) };
}

function readObject(given: { readonly key: string; readonly windowMs?: number }): {
  key: string;
  windowMs?: number;
} {
  assertOptions("deduplicate", given, new Set(["key", "windowMs"]));
  return given;
}

/**
 * Reads the options from a task's hash. A worker of an older version ignores newer options.
 *
 * Throws if `enqueue()` would refuse the options. Then another program wrote them.
 */
export function parseSettings(text: string): TaskSettings {
  if (text === "") return {};
  const settings = JSON.parse(text) as TaskSettings;
  assertObject("options", settings);
  const { backoff, timeoutMs, resultTtlMs } = settings;
  if (timeoutMs !== undefined) readWholeNumber("timeoutMs", timeoutMs, 1);
  if (resultTtlMs !== undefined) readWholeNumber("resultTtlMs", resultTtlMs, 1, YEAR_MS);
  return backoff === undefined ? settings : { ...settings, backoff: readBackoff(backoff) };
}
