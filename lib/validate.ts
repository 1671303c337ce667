import { ConfigError } from "./errors.js";

/** Checks of options, each with the same words. They throw `ConfigError`, which names the option. */

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

/** A whole number of milliseconds that a timer can wait. */
export function readMilliseconds(name: string, value: unknown, min = 1): number {
  return readWholeNumber(name, value, min);
}

/** Milliseconds of silence before a heartbeat, or `false` for none. */
export function readHeartbeat(value: unknown): number | false {
  if (value === false || isWholeNumber(value, 1, MAX_TIMER_MS)) return value;
  throw optionError(`heartbeatMs as a whole number from 1 to ${MAX_TIMER_MS}, or false`, value);
}

export function assertObject(name: string, value: unknown): asserts value is object {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isObject) throw optionError(`${name} as an object`, value);
}

/** Checks that options are an object and, with `known`, that no name is misspelt: a misspelt option would be ignored. */
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

/** A key as a message may show it: one that somebody made up for a log is not repeated. */
export function nameOf(key: string): string {
  return /^[\w.-]{1,32}$/.test(key) ? `"${key}"` : "another name";
}

export function readFlag(name: string, value: unknown): boolean | undefined {
  if (value === undefined || typeof value === "boolean") return value;
  throw optionError(`${name} as true or false`, value);
}

/** The error for an option with a wrong value. The message names the type of the value, and never shows text. */
export function optionError(expected: string, value: unknown): ConfigError {
  return new ConfigError(`expected ${expected}, got ${describe(value)}`);
}

/** A value as a message may show it: text never, since a URL given in the wrong place holds a password. */
export function describe(value: unknown): string {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (value === null || value === undefined) return String(value);
  if (typeof value !== "object") return `a ${typeof value}`;
  if (Array.isArray(value)) return "an array";
  return isThenable(value) ? "a promise" : "an object";
}

export function isThenable(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  try {
    return typeof (value as { then?: unknown }).then === "function";
  } catch {
    return false;
  }
}
