import { ConfigError } from "../errors.js";
import { assertObject, assertOptions, readWholeNumber } from "../validate.js";
import { readBackoff, type Backoff } from "./backoff.js";
import { MAX_ATTEMPTS, YEAR_MS, type TaskDefaults } from "./enqueue-options.js";
import type { AnyTasks, SchemaMap, TaskMap, TaskSchemas } from "./task-map.js";

/** Limits for finished tasks. */
export interface ResultOptions {
  /**
   * How long a task can be read after it succeeded or was cancelled, in milliseconds.
   *
   * @defaultValue 86_400_000 (24 hours)
   */
  readonly ttlMs?: number;
  /**
   * Maximum number of tasks that are kept for each of the states succeeded, failed and cancelled. The oldest are
   * deleted first.
   *
   * @defaultValue 100_000
   */
  readonly maxCount?: number;
  /**
   * Maximum number of bytes that are kept for each of these states. The oldest tasks are deleted first.
   *
   * The count is accurate to a few percent.
   *
   * @defaultValue 67_108_864 (64 MiB)
   */
  readonly maxBytes?: number;
  /**
   * Largest payload that is kept after its task succeeded or was cancelled, in bytes.
   *
   * A larger payload is deleted when the task ends. The task stays readable, and its `payload` is `null`. Failed tasks
   * keep their payloads.
   *
   * @defaultValue 16_384 (16 KiB)
   */
  readonly maxPayloadBytes?: number;
}

export type ResultSettings = Required<ResultOptions>;

/**
 * Options of a queue.
 *
 * `attempts`, `backoff`, `timeoutMs` and `resultTtlMs` are stored with a task, with the values of the process that
 * enqueues it. If that process sets none, the worker's values apply.
 */
export interface QueueOptions<Tasks extends TaskMap = AnyTasks> {
  /**
   * Maximum number of attempts of a task. An attempt also counts if its worker crashed.
   *
   * @defaultValue 3
   */
  readonly attempts?: number;
  /**
   * Wait between two attempts. A number is a fixed wait in milliseconds.
   *
   * @defaultValue `{ type: "exponential", delayMs: 1_000, maxDelayMs: 3_600_000, jitter: 0.5 }`
   */
  readonly backoff?: Backoff | number;
  /**
   * Time limit of one attempt, in milliseconds. After that the attempt fails, and its `signal` aborts.
   *
   * @defaultValue no limit
   */
  readonly timeoutMs?: number;
  /** Limits for finished tasks. */
  readonly results?: ResultOptions;
  /** The same as `results.ttlMs`. */
  readonly resultTtlMs?: number;
  /**
   * How long a failed task is kept as a dead letter, in milliseconds.
   *
   * @defaultValue 604_800_000 (7 days)
   */
  readonly deadLetterTtlMs?: number;
  /** The same as `results.maxCount`. */
  readonly maxResults?: number;
  /**
   * Limits how many tasks all workers of the queue together start in an interval.
   *
   * It is a token bucket of `max` tokens that fills evenly over `intervalMs`. After a pause, `max` tasks can start at
   * once. After that, one task starts every `intervalMs / max`.
   *
   * @defaultValue no limit
   */
  readonly rateLimit?: {
    /** Size of the bucket, in tasks. */
    readonly max: number;
    /** Time that an empty bucket takes to fill, in milliseconds. */
    readonly intervalMs: number;
  };
  /**
   * How long a task goes back to the queue if a worker has no handler for its kind, in milliseconds.
   *
   * This happens in a rolling deploy, and it uses up no attempt. After this time the task fails. With 0 it fails at
   * once.
   *
   * @defaultValue 3_600_000 (one hour)
   */
  readonly unknownKindMs?: number;
  /**
   * Minimum time between two progress events of a task, in milliseconds. An event contains the newest report.
   *
   * @defaultValue 100
   */
  readonly progressMs?: number;
  /**
   * Schemas that check payloads, one for each kind. A kind without a schema is refused.
   *
   * @defaultValue none: any kind and any payload is accepted
   */
  readonly schemas?: TaskSchemas<Tasks>;
}

/** Queue options whose schemas define the payload types. */
export interface QueueOptionsWith<Schemas extends SchemaMap> extends Omit<QueueOptions, "schemas"> {
  /** A schema for each kind of task. */
  readonly schemas: Schemas;
}

/** The options of a queue, with their defaults. */
export interface QueueSettings {
  /** The given options that are stored with each task. */
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

/** Reads an option that has an alias. If both are given, they must be equal. */
function oneOf(
  name: string,
  value: number | undefined,
  alias: string,
  other: number | undefined,
): number | undefined {
  if (value === undefined || other === undefined || value === other) return value ?? other;
  throw new ConfigError(
    `${name} and ${alias} are the same option, got ${value} and ${other}. Pass one of them.`,
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
    throw new ConfigError(
      "Each value of the option schemas must be a Standard Schema (https://standardschema.dev).",
    );
  }
  return given;
}
