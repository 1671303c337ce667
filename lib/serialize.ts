import { types } from "node:util";

import { RedisSseError } from "./errors.js";
import { printable } from "./log.js";
import { describe, isThenable } from "./validate.js";

/**
 * Converts `value` to JSON. If that is not possible, throws `UNSERIALIZABLE` with the path and the type of the problem. It also
 * refuses values that JSON would silently change: a Map, a Set, bytes, NaN, Infinity or a promise.
 */
export function encodeJson(value: unknown, what: string): string {
  const unfit = nameOfUnfit(value);
  if (unfit === null) {
    try {
      const json = JSON.stringify(value) as string | undefined;
      if (json !== undefined) return json;
    } catch {
      // The search below finds the problem. The error message may contain secrets, because a toJSON() can have thrown it.
    }
  }
  const found = unfit ?? findUnserializable(value, what);
  throw new RedisSseError("UNSERIALIZABLE", `Cannot convert ${what} to JSON: ${found}`);
}

/** Describes a value that JSON would write as `{}`, `null` or a list of numbers. Returns `null` for other values. */
function nameOfUnfit(value: unknown): string | null {
  if (typeof value === "number") return Number.isFinite(value) ? null : String(value);
  if (typeof value !== "object" || value === null) return null;
  if (types.isProxy(value) || Object.getPrototypeOf(value) === Object.prototype) return null;
  if (types.isMap(value)) return "a Map. Convert it with Object.fromEntries().";
  if (types.isSet(value)) return "a Set. Convert it with Array.from().";
  if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) {
    return 'bytes. Convert them to text, for example with toString("base64").';
  }
  return isThenable(value) ? "a promise. Await it." : null;
}

/** Whether `text` takes more than `maxBytes` in UTF-8. It counts bytes only if the length alone does not decide. */
export function isLargerThan(text: string, maxBytes: number): boolean {
  if (text.length > maxBytes) return true;
  return text.length * 3 > maxBytes && Buffer.byteLength(text) > maxBytes;
}

/** Maximum number of values to search for the problem. */
const MAX_LOOKS = 10_000;
const MAX_DEPTH = 500;
/** Maximum number of characters of a path in a message. */
const MAX_PATH = 200;

/** Finds the part of a value that JSON refuses, for example `data.user.self: circular`. Never throws. */
function findUnserializable(value: unknown, what: string): string {
  const above = new Set<object>();
  let looks = 0;
  const look = (each: unknown, path: string): string | null => {
    if (++looks > MAX_LOOKS || above.size > MAX_DEPTH) return `${what}: too large or too deep`;
    const named = (problem: string): string =>
      path.length > MAX_PATH ? `${path.slice(0, MAX_PATH)}...: ${problem}` : `${path}: ${problem}`;
    if (typeof each === "bigint") return named("a BigInt");
    if (typeof each !== "object" || each === null) return null;
    if (above.has(each)) return named("circular");
    above.add(each);
    try {
      const { toJSON } = each as { toJSON?: unknown };
      if (typeof toJSON === "function") return look((toJSON as () => unknown).call(each), `${path}.toJSON()`);
      for (const key of Object.keys(each)) {
        const found = look((each as Record<string, unknown>)[key], `${path}${keyInPath(each, key)}`);
        if (found !== null) return found;
      }
      return null;
    } catch {
      return named("a getter or toJSON() that threw");
    } finally {
      above.delete(each);
    }
  };
  return look(value, what) ?? describe(value);
}

function keyInPath(parent: object, key: string): string {
  if (Array.isArray(parent)) return `[${key}]`;
  return /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${printable(key)}]`;
}
