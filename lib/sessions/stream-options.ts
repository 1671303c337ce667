import { types } from "node:util";

import { ConfigError } from "../errors.js";
import { readSlowConsumer } from "../backpressure/slow-consumer-policy.js";
import { assertAtOnce } from "../sync-callback.js";
import { describe, optionError, readHeartbeat, readMilliseconds } from "../validate.js";
import { readResumePolicy } from "./resume-policy.js";
import { assertRevalidation } from "./revalidation.js";
import type { StreamRequest } from "./sink.js";

/**
 * Returns the text of a key, or `undefined` for no key. Throws `ConfigError` for a value of any other type. Each array or
 * object would be a new `Map` key, and `limits.maxSessionsPerKey` would never apply.
 */
export function readKey(key: unknown): string | undefined {
  if (key === undefined || key === null) return undefined;
  if (typeof key === "string") return key;
  if (typeof key === "number" || typeof key === "bigint") return String(key);
  const type = typeof key === "boolean" ? "a boolean" : describe(key);
  throw new ConfigError(`expected key as a string, a number, a bigint, null or undefined, got ${type}`);
}

const ON_LIMIT: ReadonlySet<unknown> = new Set(["event", "status", "evict-oldest", undefined]);
const FROM: ReadonlySet<unknown> = new Set(["now", "earliest", undefined]);
const ON_UNAVAILABLE: ReadonlySet<unknown> = new Set(["event", "status", undefined]);

/** Checks the settings of a stream that override the settings of the service. Throws `ConfigError` for an invalid option. */
export function assertSettings(request: StreamRequest): void {
  const { heartbeatMs, retryMs, slowConsumer, onLimit, from, expiresAt, resume, revalidate } = request;
  if (heartbeatMs !== undefined) readHeartbeat(heartbeatMs);
  if (retryMs !== undefined) readMilliseconds("retryMs", retryMs);
  if (slowConsumer !== undefined) readSlowConsumer(slowConsumer);
  if (!ON_LIMIT.has(onLimit)) throw optionError('onLimit as "event", "status" or "evict-oldest"', onLimit);
  if (!FROM.has(from)) throw optionError('from as "now" or "earliest"', from);
  if (expiresAt !== undefined) readExpiry(expiresAt);
  if (resume !== undefined) readResumePolicy(resume);
  if (revalidate !== undefined) assertRevalidation(revalidate);
}

/**
 * Checks the options of a mount that have the same names in `StreamRequest`. Throws a `ConfigError` that names the option.
 *
 * An adapter calls it when the mount is created. So a mistake is reported before the first client connects.
 */
export function assertStreamOptions(
  options: Pick<
    StreamRequest,
    "heartbeatMs" | "retryMs" | "slowConsumer" | "onLimit" | "onUnavailable" | "from" | "resume"
  > & { readonly [Name in "filter" | "transform" | "until" | "revalidate"]?: unknown },
): void {
  const { filter, transform, until, revalidate, ...settings } = options;
  assertSettings(settings);
  if (revalidate !== undefined) assertRevalidation(revalidate);
  const { onUnavailable } = settings;
  if (!ON_UNAVAILABLE.has(onUnavailable)) {
    throw optionError('onUnavailable as "event" or "status"', onUnavailable);
  }
  for (const [name, rule] of Object.entries({ filter, transform, until })) {
    if (rule === undefined) continue;
    if (typeof rule !== "function") throw optionError(`${name} as a function`, rule);
    assertAtOnce(name, rule);
  }
}

/** Returns when a right ends, in milliseconds since 1970. `Infinity`: never. Throws `ConfigError`. */
export function readExpiry(expiresAt: unknown): number {
  if (expiresAt === undefined || expiresAt === null) return Infinity;
  const time = types.isDate(expiresAt) ? expiresAt.getTime() : expiresAt;
  if (typeof time === "number" && !Number.isNaN(time)) return time;
  throw optionError("expiresAt as a valid Date or a number of milliseconds since 1970", expiresAt);
}
