import { ConfigError, RedisSseError } from "../errors.js";
import { assertKnown, assertObject, describe, readWholeNumber } from "../validate.js";
import { readBackoff, type Backoff } from "./backoff.js";
import { assertTaskId } from "./task.js";

export interface EnqueueOptions {
  /** The task's id, 1 to 128 characters of A-Z a-z 0-9 _ -, in no other queue either. Default: a random UUID. */
  readonly id?: string | undefined;
  /** Milliseconds after which it is due, at most a year. Default 0. */
  readonly delayMs?: number | undefined;
  /** When it is due: a date, or milliseconds since 1970; what is past is due at once. Not together with `delayMs`. */
  readonly runAt?: Date | number | undefined;
  /** -100 to 100; the higher are run first, those of one priority in the order of their coming. Default 0. */
  readonly priority?: number | undefined;
  /** How often it is begun, before it fails for good. Default: the queue's. */
  readonly attempts?: number | undefined;
  /** How long it waits between attempts; a number is milliseconds. Default: the queue's. */
  readonly backoff?: Backoff | number | undefined;
  /** Milliseconds that one attempt may take; then its signal fires and it counts as failed. Default: the queue's. */
  readonly timeoutMs?: number | undefined;
  /** Milliseconds that the task can be read after it has succeeded or was cancelled. Default: the queue's. */
  readonly resultTtlMs?: number | undefined;
  /**
   * Of tasks of one key there is only one: while the first is not over, or, with `windowMs`, for so long after it was put
   * in line, `enqueue()` answers that one instead of another. The key has 1 to 256 characters, in each queue by itself.
   */
  readonly deduplicate?: string | { readonly key: string; readonly windowMs?: number } | undefined;
}

/** Options of a task that its worker goes by; stored with it where they were given. */
export interface TaskSettings {
  readonly backoff?: Required<Backoff>;
  readonly timeoutMs?: number;
  readonly resultTtlMs?: number;
}

/** What a queue may say of all its tasks. */
export type TaskDefaults = Pick<EnqueueOptions, "attempts" | "backoff" | "timeoutMs" | "resultTtlMs">;

/** What was said of a task, as the script takes it. */
export interface EnqueueSettings {
  readonly id: string | undefined;
  /** Lines; empty where nothing was said. */
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
  assertObject("the task's options", options);
  assertKnown("the task's options", options, KNOWN);
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

/** What the queue says of all its tasks goes with each that does not say it itself. */
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
  throw new ConfigError(`expected runAt as a valid Date or milliseconds since 1970, got ${describe(runAt)}`);
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
  // A line ends what a script is told of it.
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
  assertObject("deduplicate", given);
  assertKnown("deduplicate", given, new Set(["key", "windowMs"]));
  return given;
}

/**
 * What a task's hash says; a worker of an older version knows nothing of what came later. Throws for settings that
 * `enqueue()` does not take: another program has written them.
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
