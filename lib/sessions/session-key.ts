import { ConfigError } from "../errors.js";
import type { OnLimit } from "../sse/http-answer.js";
import { describe } from "../validate.js";

/** Identifies the caller. A number counts as its text; `undefined` and `null` stand for no key. */
export type SessionKey = string | number | bigint | null | undefined;

/**
 * The text of a key, or `undefined` for no key. Throws `ConfigError` for a value of any other type: an array or an
 * object is a new `Map` key each time, so `limits.maxSessionsPerKey` would never apply.
 */
export function readKey(key: unknown): string | undefined {
  if (key === undefined || key === null) return undefined;
  if (typeof key === "string") return key;
  if (typeof key === "number" || typeof key === "bigint") return String(key);
  const type = typeof key === "boolean" ? "a boolean" : describe(key);
  throw new ConfigError(`expected key as a string, a number, a bigint, null or undefined, got ${type}`);
}

/** Checks the option `onLimit`. Throws `ConfigError`. */
export function readOnLimit(onLimit: unknown): OnLimit {
  if (onLimit === undefined) return "event";
  if (onLimit === "event" || onLimit === "status" || onLimit === "evict-oldest") return onLimit;
  throw new ConfigError(`expected onLimit as "event", "status" or "evict-oldest", got ${describe(onLimit)}`);
}
