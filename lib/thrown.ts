import { inspect, types } from "node:util";

import { errorCatalogue } from "./catalogue/error-catalogue.js";
import { RedisSseError } from "./errors.js";

/** Functions for thrown values. An application can throw any value, even one whose properties throw when they are read. */

const MAX_BYTES = 8 * 1024;
/** Maximum number of characters of one message. */
const MAX_MESSAGE = 2_000;
const MAX_NAME = 100;
const MAX_CAUSES = 5;
/** Number of characters at the end of a stack in which frames are searched. */
const MAX_STACK = 8_000;
const MAX_FRAMES = 10;
const MAX_ITEMS = 10;
const MAX_PROPERTIES = 1_000;

/** As `instanceof`, which throws for some proxies. */
export function isInstance<T>(value: unknown, type: abstract new (...args: never[]) => T): value is T {
  try {
    return value instanceof type;
  } catch {
    return false;
  }
}

/** Returns a property, or `undefined` if it cannot be read. */
export function readProperty(value: unknown, name: string): unknown {
  try {
    return (value as Readonly<Record<string, unknown>> | null | undefined)?.[name];
  } catch {
    return undefined;
  }
}

/**
 * As `instanceof RedisSseError`, but also for errors of another copy of this library. A process can have two copies: ES modules
 * and the CommonJS build. A service of one copy works with the middleware of the other.
 */
export function isRedisSseError(value: unknown): value is RedisSseError {
  if (isInstance(value, RedisSseError)) return true;
  const code = readProperty(value, "code");
  const isKnown = typeof code === "string" && Object.hasOwn(errorCatalogue, code);
  return isKnown && typeof readProperty(value, "retryable") === "boolean";
}

/**
 * Describes a thrown value for operators: name, message, stack and up to five causes, at most 8 KB of UTF-8. Never throws.
 */
export function describeThrown(thrown: unknown): string {
  const parts: string[] = [];
  for (let each = thrown; parts.length <= MAX_CAUSES;) {
    parts.push(describeOne(each));
    each = isError(each) ? readProperty(each, "cause") : undefined;
    if (each === undefined || each === null) break;
  }
  return cutBytes(parts.join("\nCaused by: "), MAX_BYTES);
}

/** Returns the name of an error, or the type of another value, for a log. Never throws. */
export function nameOfThrown(thrown: unknown): string {
  if (!isError(thrown)) return typeof thrown;
  const name = readProperty(thrown, "name");
  return typeof name === "string" && name !== "" ? name.slice(0, MAX_NAME) : "Error";
}

/** Describes a thrown value for the `debug` log. The message of a foreign error may contain secrets, so it is omitted. */
export function debugTextOf(thrown: unknown): string {
  return isInstance(thrown, RedisSseError) ? thrown.message : nameOfThrown(thrown);
}

/** Ignores the rejection of a thrown promise. Otherwise Node would end the process. Never throws. */
export function ignoreRejection(thrown: unknown): void {
  if (!types.isPromise(thrown)) return;
  try {
    void Promise.prototype.then.call(thrown, undefined, () => {});
  } catch {
    // `then()` throws if the `constructor` of the promise throws.
  }
}

/** Cuts a text after at most `maxBytes` of UTF-8, between two characters. */
export function cutBytes(text: string, maxBytes: number): string {
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(maxBytes));
  return text.slice(0, read);
}

function describeOne(value: unknown): string {
  if (typeof value === "string" && value !== "") return value.slice(0, MAX_MESSAGE);
  if (!isError(value)) return `threw ${inspectSafely(value)}`;
  const message = readProperty(value, "message");
  const text = message === undefined || typeof message === "string" ? message : inspectSafely(message);
  const head = nameOfThrown(value) + (text ? `: ${text.slice(0, MAX_MESSAGE)}` : "");
  return [head, ...framesOf(value)].join("\n");
}

/** The lines of a stack after its message. */
function framesOf(error: unknown): readonly string[] {
  const stack = readProperty(error, "stack");
  if (typeof stack !== "string") return [];
  const lines = stack.slice(-MAX_STACK).split("\n");
  return lines.filter((line) => /^ +at /.test(line)).slice(0, MAX_FRAMES);
}

/** Whether a value is an error of any realm, or an object with a message and a stack. */
function isError(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (types.isNativeError(value) || isInstance(value, Error)) return true;
  return (
    typeof readProperty(value, "message") === "string" && typeof readProperty(value, "stack") === "string"
  );
}

/**
 * Whether `inspect()` would read more than `left` properties. `inspect()` limits arrays and strings, but not objects. This calls
 * no function of the value.
 */
function isLarge(value: unknown, depth = 2, budget = { left: MAX_PROPERTIES }): boolean {
  if (typeof value !== "object" || value === null || types.isProxy(value) || depth < 0) return false;
  const isList = Array.isArray(value) || ArrayBuffer.isView(value);
  const keys = isList ? Array.from({ length: MAX_ITEMS }, (_, index) => String(index)) : Object.keys(value);
  budget.left -= keys.length;
  if (budget.left < 0) return true;
  return keys.some((key) => isLarge(Object.getOwnPropertyDescriptor(value, key)?.value, depth - 1, budget));
}

function inspectSafely(value: unknown): string {
  try {
    if (isLarge(value)) return `an object with more than ${MAX_PROPERTIES} properties`;
    // With these options, `inspect()` calls no function of the value, and no trap of a proxy.
    const text = inspect(value, {
      depth: 2,
      maxArrayLength: MAX_ITEMS,
      maxStringLength: MAX_MESSAGE,
      customInspect: false,
      showProxy: true,
      breakLength: Infinity,
    });
    return text.slice(0, MAX_MESSAGE);
  } catch {
    return `an unreadable value of type ${typeof value}`;
  }
}
