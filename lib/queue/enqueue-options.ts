import { ConfigError, RedisSseError } from "../errors.js";
import { assertObject, assertOptions, optionError, readWholeNumber } from "../validate.js";
import { readBackoff, type Backoff } from "./backoff.js";
import { assertTaskId } from "./task.js";

/** Options of one task. */
export interface EnqueueOptions {
  /** The task's id: 1 to 128 characters of A-Z a-z 0-9 _ -, unique over all queues. Defaults to a random UUID. */
  readonly id?: string | undefined;
  /** Time until the task is due, in milliseconds, at most a year. Defaults to 0. */
  readonly delayMs?: number | undefined;
  /** When the task is due: a date, or milliseconds since 1970. A past time is due at once. Do not combine it with `delayMs`. */
  readonly runAt?: Date | number | undefined;
  /** -100 to 100. Higher priorities start first. Tasks of equal priority start in their order. Defaults to 0. */
  readonly priority?: number | undefined;
  /** Most attempts of the task. Defaults to the queue's value. */
  readonly attempts?: number | undefined;
  /** Wait between two attempts. A number is a fixed wait in milliseconds. Defaults to the queue's value. */
  readonly backoff?: Backoff | number | undefined;
  /** Longest time of one attempt, in milliseconds. Then its signal aborts, and it has failed. Defaults to the queue's value. */
  readonly timeoutMs?: number | undefined;
  /** How long the task can be read after it has succeeded or was cancelled, in milliseconds. Defaults to the queue's value. */
  readonly resultTtlMs?: number | undefined;
  /**
   * A key that allows one task at a time. While a task with this key is unfinished, `enqueue()` resolves to that task.
   *
   * With `windowMs`, it does so for that time after the task was enqueued, whether it is finished or not. The key has 1 to 256
   * characters in one line. Each queue has its own keys.
   */
  readonly deduplicate?:
    | string
    | {
        /** Tasks with the same key are duplicates. */
        readonly key: string;
        /** How long the key counts after the task was enqueued, in milliseconds. Default: until the task is finished. */
        readonly windowMs?: number;
      }
    | undefined;
}

/** Options of a task that its worker reads. Given options are stored with the task. */
export interface TaskSettings {
  readonly backoff?: Required<Backoff>;
  readonly timeoutMs?: number;
  readonly resultTtlMs?: number;
}

/** Options of a task that a queue can set for all its tasks. */
export type TaskDefaults = Pick<EnqueueOptions, "attempts" | "backoff" | "timeoutMs" | "resultTtlMs">;

/** The options of a task in the form that the script reads. */
export interface EnqueueSettings {
  readonly id: string | undefined;
  /** Lines. Empty if no option was given. */
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

/** Checks the options of `enqueue()`. Throws `INVALID_TASK` for an id or a key, which are data, `ConfigError` for any other. */
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

/** Adds the queue's defaults for options that the task does not set. */
export function withDefaults(options: EnqueueOptions, defaults: TaskDefaults): EnqueueOptions {
  const names = Object.keys(defaults) as (keyof TaskDefaults)[];
  if (names.length === 0) return options;
  assertObject("the task's options", options);
  const left = names.filter((name) => options[name] === undefined);
  return { ...options, ...Object.fromEntries(left.map((name) => [name, defaults[name]])) };
}

function readWhen({ delayMs, runAt }: EnqueueOptions): string {
  if (delayMs !== undefined && runAt !== undefined) {
    throw new ConfigError("expected delayMs or runAt, got both");
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
  // The first of a key is answered as long as it is the only one.
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
 * Reads the options from a task's hash. A worker of an older version ignores newer options. Throws for settings that `enqueue()`
 * refuses: another program has written them.
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
