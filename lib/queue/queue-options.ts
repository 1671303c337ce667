import { ConfigError } from "../errors.js";
import { assertObject, assertOptions, readWholeNumber } from "../validate.js";
import { readBackoff, type Backoff } from "./backoff.js";
import { MAX_ATTEMPTS, YEAR_MS, type TaskDefaults } from "./enqueue-options.js";
import type { AnyTasks, SchemaMap, TaskMap, TaskSchemas } from "./task-map.js";

/** Limits for finished tasks. */
export interface ResultOptions {
  /** How long a task can be read after it has succeeded or was cancelled, in milliseconds. Defaults to 24 hours. */
  readonly ttlMs?: number;
  /** Most tasks kept for each of the states succeeded, failed and cancelled. The oldest are deleted first. Defaults to 100,000. */
  readonly maxCount?: number;
  /** Most bytes kept for each of these states, to a few percent. The oldest tasks are deleted first. Defaults to 64 MiB. */
  readonly maxBytes?: number;
  /**
   * Largest payload that stays stored after its task has succeeded or was cancelled, in bytes.
   *
   * A larger payload is deleted then. The task stays readable, and its `payload` is `null`. Failed tasks keep their
   * payloads. Defaults to 16 KiB.
   */
  readonly maxPayloadBytes?: number;
}

export type ResultSettings = Required<ResultOptions>;

/**
 * Options of a queue.
 *
 * `attempts`, `backoff`, `timeoutMs` and `resultTtlMs` of the process that enqueues a task are stored with the task. If that
 * process sets none, the worker's values apply.
 */
export interface QueueOptions<Tasks extends TaskMap = AnyTasks> {
  /** Most attempts of a task. An attempt counts also if its worker is lost. Defaults to 3. */
  readonly attempts?: number;
  /** Wait between two attempts. A number is a fixed wait in milliseconds. Defaults to an exponential backoff from 1 s. */
  readonly backoff?: Backoff | number;
  /** Longest time of one attempt, in milliseconds. Then its signal aborts, and the attempt has failed. No limit by default. */
  readonly timeoutMs?: number;
  /** Limits for finished tasks. */
  readonly results?: ResultOptions;
  /** The same as `results.ttlMs`. */
  readonly resultTtlMs?: number;
  /** How long a failed task is kept among the dead letters, in milliseconds. Defaults to 7 days. */
  readonly deadLetterTtlMs?: number;
  /** The same as `results.maxCount`. */
  readonly maxResults?: number;
  /**
   * Limits how fast all workers of the queue together start tasks.
   *
   * It is a token bucket of `max` tokens that fills evenly over `intervalMs`. After a pause, `max` tasks start at once, then
   * one every `intervalMs / max`. No limit by default.
   */
  readonly rateLimit?: {
    /** Size of the bucket, in tasks. */
    readonly max: number;
    /** Time in which an empty bucket fills, in milliseconds. */
    readonly intervalMs: number;
  };
  /**
   * How long a task goes back to the queue if a worker has no handler for its kind, in milliseconds.
   *
   * This happens in a rolling deploy. It uses up no attempt. After this time the task fails. With 0 it fails at once. Defaults to
   * one hour.
   */
  readonly unknownKindMs?: number;
  /** Shortest time between two progress events of a task, in milliseconds. The newest report is sent. Defaults to 100. */
  readonly progressMs?: number;
  /** One schema for each kind, to check payloads. A kind without a schema is refused. By default any payload is accepted. */
  readonly schemas?: TaskSchemas<Tasks>;
}

/** Queue options whose schemas define the payload types. */
export interface QueueOptionsWith<Schemas extends SchemaMap> extends Omit<QueueOptions, "schemas"> {
  /** A schema for each kind of task. */
  readonly schemas: Schemas;
}

/** The options with every default filled in. */
export interface QueueSettings {
  /** The options that are stored with each task, as far as they were given. */
  readonly taskDefaults: TaskDefaults;
  readonly attempts: number;
  readonly backoff: Required<Backoff>;
  readonly timeoutMs: number | undefined;
  readonly resultTtlMs: number;
  readonly deadLetterTtlMs: number;
  readonly results: ResultSettings;
  readonly rateLimit: { readonly max: number; readonly intervalMs: number } | undefined;
  readonly unknownKindMs: number;
  readonly progressMs: number;
  readonly schemas: TaskSchemas<AnyTasks> | undefined;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const KNOWN: ReadonlySet<string> = new Set<keyof QueueOptions>([
  "attempts",
  "backoff",
  "timeoutMs",
  "resultTtlMs",
  "deadLetterTtlMs",
  "maxResults",
  "results",
  "rateLimit",
  "unknownKindMs",
  "progressMs",
  "schemas",
]);

/** Checks the options of a queue. Throws `ConfigError`. */
export function readQueueOptions(options: QueueOptions<never>): QueueSettings {
  assertOptions("options", options, KNOWN);
  const given: QueueOptions = options;
  const { attempts = 3, timeoutMs, deadLetterTtlMs = 7 * DAY_MS } = given;
  const results = readResults(given);
  const { progressMs = 100, unknownKindMs = HOUR_MS } = given;
  if (timeoutMs !== undefined) readWholeNumber("timeoutMs", timeoutMs, 1);
  return {
    taskDefaults: readDefaults(given),
    results,
    attempts: readWholeNumber("attempts", attempts, 1, MAX_ATTEMPTS),
    backoff: readBackoff(given.backoff),
    timeoutMs,
    resultTtlMs: results.ttlMs,
    deadLetterTtlMs: readWholeNumber("deadLetterTtlMs", deadLetterTtlMs, 1, YEAR_MS),
    rateLimit: readRateLimit(given.rateLimit),
    unknownKindMs: readWholeNumber("unknownKindMs", unknownKindMs, 0, YEAR_MS),
    progressMs: readWholeNumber("progressMs", progressMs, 0, 60_000),
    schemas: readSchemas(given.schemas),
  };
}

function readResults({ results = {}, resultTtlMs, maxResults }: QueueOptions): ResultSettings {
  assertOptions("results", results, new Set(["ttlMs", "maxCount", "maxBytes", "maxPayloadBytes"]));
  if (resultTtlMs !== undefined) readWholeNumber("resultTtlMs", resultTtlMs, 1, YEAR_MS);
  if (maxResults !== undefined) readWholeNumber("maxResults", maxResults, 1, 10_000_000);
  const ttlMs = oneOf("results.ttlMs", results.ttlMs, "resultTtlMs", resultTtlMs) ?? DAY_MS;
  const maxCount = oneOf("results.maxCount", results.maxCount, "maxResults", maxResults) ?? 100_000;
  const { maxBytes = 64 * 1024 * 1024, maxPayloadBytes = 16 * 1024 } = results;
  return {
    ttlMs: readWholeNumber("results.ttlMs", ttlMs, 1, YEAR_MS),
    maxCount: readWholeNumber("results.maxCount", maxCount, 1, 10_000_000),
    maxBytes: readWholeNumber("results.maxBytes", maxBytes, 1, 2 ** 40),
    maxPayloadBytes: readWholeNumber("results.maxPayloadBytes", maxPayloadBytes, 0, 2 ** 40),
  };
}

/** Of an option and its alias, both may be given only if they are the same. */
function oneOf(
  name: string,
  value: number | undefined,
  alias: string,
  other: number | undefined,
): number | undefined {
  if (value === undefined || other === undefined || value === other) return value ?? other;
  throw new ConfigError(
    `${name} and ${alias} are the same option, got ${value} and ${other}. Give one of them.`,
  );
}

function readDefaults({
  attempts,
  backoff,
  timeoutMs,
  resultTtlMs: alias,
  results,
}: QueueOptions): TaskDefaults {
  const resultTtlMs = alias ?? results?.ttlMs;
  const all = { attempts, backoff, timeoutMs, resultTtlMs };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

function readRateLimit(given: QueueOptions["rateLimit"]): QueueSettings["rateLimit"] {
  if (given === undefined) return undefined;
  assertOptions("rateLimit", given, new Set(["max", "intervalMs"]));
  return {
    max: readWholeNumber("rateLimit.max", given.max, 1),
    intervalMs: readWholeNumber("rateLimit.intervalMs", given.intervalMs, 1),
  };
}

function readSchemas(given: QueueOptions["schemas"]): QueueSettings["schemas"] {
  if (given === undefined) return undefined;
  assertObject("schemas", given);
  for (const schema of Object.values(given)) {
    if (typeof schema?.["~standard"]?.validate === "function") continue;
    throw new ConfigError("expected schemas to be Standard Schemas, one for each kind");
  }
  return given;
}
