import { ConfigError } from "./errors.js";

/** Checks of options with uniform messages. They throw a `ConfigError` that names the option. */

/** Options with every default filled in. */
export type Filled<Options> = { readonly [Name in keyof Options]-?: Exclude<Options[Name], undefined> };

const MAX_TIMER_MS = 2 ** 31 - 1;

export function readWholeNumber(
  name: string,
  value: unknown,
  min: number,
  max: number = MAX_TIMER_MS,
): number {
  if (isWholeNumber(value, min, max)) return value;
  throw optionError(`${name} as a whole number from ${min} to ${max}`, value);
}

export function readWholeNumberOrInfinity(name: string, value: unknown, min: number): number {
  if (value === Infinity || isWholeNumber(value, min, MAX_TIMER_MS)) return value;
  throw optionError(`${name} as a whole number from ${min} to ${MAX_TIMER_MS}, or Infinity`, value);
}

function isWholeNumber(value: unknown, min: number, max: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max;
}

/** Reads a whole number of milliseconds that is valid for a timer. */
export function readMilliseconds(name: string, value: unknown, min = 1): number {
  return readWholeNumber(name, value, min);
}

/** Reads the milliseconds of silence before a heartbeat. `false`: no heartbeats. */
export function readHeartbeat(value: unknown): number | false {
  if (value === false || isWholeNumber(value, 1, MAX_TIMER_MS)) return value;
  throw optionError(`heartbeatMs as a whole number from 1 to ${MAX_TIMER_MS}, or false`, value);
}

export function assertObject(name: string, value: unknown): asserts value is object {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isObject) throw optionError(`${name} as an object`, value);
}

/** Checks that options are an object. With `known`, it also refuses unknown names, which would otherwise be ignored. */
export function assertOptions(
  name: string,
  value: unknown,
  known?: ReadonlySet<string>,
): asserts value is object {
  assertObject(name, value);
  const unknown = known && Object.keys(value).find((key) => !known.has(key));
  if (unknown !== undefined) {
    throw new ConfigError(`expected ${name} to have only ${[...known!].join(", ")}; got ${nameOf(unknown)}`);
  }
}

/** Returns an option name for a message. It omits unusual names, because a user may have chosen one to forge a log line. */
export function nameOf(key: string): string {
  return /^[\w.-]{1,32}$/.test(key) ? `"${key}"` : "another name";
}

export function readFlag(name: string, value: unknown): boolean | undefined {
  if (value === undefined || typeof value === "boolean") return value;
  throw optionError(`${name} as true or false`, value);
}

/** The error for an option with an invalid value. The message has the type of the value, but never text. */
export function optionError(expected: string, value: unknown): ConfigError {
  return new ConfigError(`expected ${expected}, got ${describe(value)}`);
}

/** Describes a value for a message. It never shows text: a URL that was passed as the wrong option may contain a password. */
export function describe(value: unknown): string {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (value === null || value === undefined) return String(value);
  if (typeof value !== "object") return `a ${typeof value}`;
  if (Array.isArray(value)) return "an array";
  return isThenable(value) ? "a promise" : "an object";
}

export function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  if (typeof value !== "object" || value === null) return false;
  try {
    return typeof (value as { then?: unknown }).then === "function";
  } catch {
    return false;
  }
}
