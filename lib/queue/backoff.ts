import { assertOptions, optionError, readWholeNumber } from "../validate.js";

/** How long a task waits that has failed, before it is tried again. */
export interface Backoff {
  /** "fixed": always `delayMs`. "exponential": `delayMs`, then twice as long each time. Default "exponential". */
  readonly type?: "fixed" | "exponential";
  /** Milliseconds before the second attempt. Default 1,000. */
  readonly delayMs?: number;
  /** The longest wait, in milliseconds, at least `delayMs`. Default 3,600,000, an hour, or `delayMs` if that is longer. */
  readonly maxDelayMs?: number;
  /** The part of the wait, 0 to 1, that is left to chance, so that what failed together does not return together. Default 0.5. */
  readonly jitter?: number;
}

const DEFAULTS: Required<Backoff> = {
  type: "exponential",
  delayMs: 1_000,
  maxDelayMs: 3_600_000,
  jitter: 0.5,
};
const MAX_DELAY_MS = 365 * 24 * 3_600_000;
const KNOWN: ReadonlySet<string> = new Set(Object.keys(DEFAULTS));

/** Checks an option; a number is a fixed wait without chance. Throws `ConfigError`. */
export function readBackoff(given: Backoff | number = {}): Required<Backoff> {
  if (typeof given === "number") {
    const delayMs = readWholeNumber("backoff", given, 0, MAX_DELAY_MS);
    return { ...DEFAULTS, type: "fixed", delayMs, maxDelayMs: delayMs, jitter: 0 };
  }
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw optionError("backoff as milliseconds or an object", given);
  }
  assertOptions("backoff", given, KNOWN);
  const { type = DEFAULTS.type, delayMs = DEFAULTS.delayMs, jitter = DEFAULTS.jitter } = given;
  if (type !== "fixed" && type !== "exponential") {
    throw optionError('backoff.type as "fixed" or "exponential"', type);
  }
  readWholeNumber("backoff.delayMs", delayMs, 0, MAX_DELAY_MS);
  const { maxDelayMs = Math.max(DEFAULTS.maxDelayMs, delayMs) } = given;
  readWholeNumber("backoff.maxDelayMs", maxDelayMs, delayMs, MAX_DELAY_MS);
  if (typeof jitter !== "number" || !(jitter >= 0 && jitter <= 1)) {
    throw optionError("backoff.jitter as a number from 0 to 1", jitter);
  }
  return { type, delayMs, maxDelayMs, jitter };
}

/** Milliseconds after the given attempt, the first being 1. `random` is at least 0 and less than 1. */
export function backoffDelay(backoff: Required<Backoff>, attempt: number, random: number): number {
  const { type, delayMs, maxDelayMs, jitter } = backoff;
  const grown = type === "fixed" ? delayMs : delayMs * 2 ** Math.min(attempt - 1, 52);
  const whole = Math.min(grown, maxDelayMs);
  return Math.round(whole * (1 - jitter * random));
}
