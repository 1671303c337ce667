import { ConfigError } from "../errors.js";
import { assertKnown, assertObject, readWholeNumber } from "../validate.js";
import { readBackoff, type Backoff } from "./backoff.js";
import { MAX_ATTEMPTS, YEAR_MS, type TaskDefaults } from "./enqueue-options.js";
import type { AnyTasks, SchemaMap, TaskMap, TaskSchemas } from "./task-map.js";

/** What is kept of tasks that are over. */
export interface ResultOptions {
  /** Milliseconds that a task can be read after it has succeeded or was cancelled. Defaults to 24 hours. */
  readonly ttlMs?: number;
  /** Most tasks kept of each way to end. Beyond it the oldest are forgotten before their time. Defaults to 100,000. */
  readonly maxCount?: number;
  /** Most bytes kept of each way to end, to a few percent. Beyond it the oldest are forgotten. Defaults to 64 MiB. */
  readonly maxBytes?: number;
  /**
   * A larger payload is released when its task succeeds or is cancelled: the task is kept, its `payload` is `null`. Failed
   * tasks keep theirs. In bytes. Defaults to 16 KiB.
   */
  readonly maxPayloadBytes?: number;
}

export type ResultSettings = Required<ResultOptions>;

/**
 * What is said of each task (attempts, backoff, timeoutMs, resultTtlMs) goes with it from where it is enqueued; where that
 * process says nothing of it, the worker's own counts.
 */
export interface QueueOptions<Tasks extends TaskMap = AnyTasks> {
  /** How often a task is begun, before it fails for good: whether its handler throws or its worker is lost. Default 3. */
  readonly attempts?: number;
  /** How long a task waits that has failed; a number is milliseconds. Default: exponential from 1 s. */
  readonly backoff?: Backoff | number;
  /** Milliseconds that one attempt may take; then its signal fires and it counts as failed. Default: any. */
  readonly timeoutMs?: number;
  /** What is kept of tasks that are over. */
  readonly results?: ResultOptions;
  /** The same as `results.ttlMs`. */
  readonly resultTtlMs?: number;
  /** Milliseconds that a failed task is kept among the dead letters. Default 7 days. */
  readonly deadLetterTtlMs?: number;
  /** The same as `results.maxCount`. */
  readonly maxResults?: number;
  /**
   * How fast tasks are begun, by all workers of the queue together: a bucket of `max` that fills evenly over `intervalMs`. After
   * a rest `max` begin at once, then one every `intervalMs / max`. Default: any number.
   */
  readonly rateLimit?: { readonly max: number; readonly intervalMs: number };
  /**
   * Milliseconds for which a task goes back to the queue, again and again, while the workers that take it have no handler for
   * its kind, as in a rolling deploy. Then the task fails. No attempt is used up. 0: it fails at once. Default one hour.
   */
  readonly unknownKindMs?: number;
  /** Progress reported within so many milliseconds is told once, as it was last. Default 100. */
  readonly progressMs?: number;
  /** A check for the payload of each kind: then kinds without one are refused. Default: any payload. */
  readonly schemas?: TaskSchemas<Tasks>;
}

/** Options whose schemas say what the tasks carry. */
export interface QueueOptionsWith<Schemas extends SchemaMap> extends Omit<QueueOptions, "schemas"> {
  readonly schemas: Schemas;
}

/** The options with every default filled in. */
export interface QueueSettings {
  /** Those that were given of what goes with each task. */
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
  assertObject("options", options);
  assertKnown("options", options, KNOWN);
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
  assertObject("results", results);
  assertKnown("results", results, new Set(["ttlMs", "maxCount", "maxBytes", "maxPayloadBytes"]));
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
  assertObject("rateLimit", given);
  assertKnown("rateLimit", given, new Set(["max", "intervalMs"]));
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
