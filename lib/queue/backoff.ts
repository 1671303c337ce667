import { assertOptions, optionError, readWholeNumber } from "../validate.js";

/** How long a failed task waits before its next attempt. */
export interface Backoff {
  /**
   * `"fixed"`: each wait is `delayMs`. `"exponential"`: the first wait is `delayMs`, and each further wait is twice as
   * long.
   *
   * @defaultValue "exponential"
   */
  readonly type?: "fixed" | "exponential";
  /**
   * Wait before the second attempt, in milliseconds.
   *
   * @defaultValue 1_000
   */
  readonly delayMs?: number;
  /**
   * Longest wait, in milliseconds. At least `delayMs`.
   *
   * @defaultValue 3_600_000 (one hour), or `delayMs` if it is longer
   */
  readonly maxDelayMs?: number;
  /**
   * Random part of the wait, from 0 to 1. With 0.5, a wait of 10 s takes 5 to 10 s.
   *
   * It spreads the next attempts of tasks that failed at the same time.
   *
   * @defaultValue 0.5
   */
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

/** Checks the option `backoff`. A number is a fixed wait without jitter. Throws `ConfigError`. */
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

/** The wait after an attempt, in milliseconds. `attempt` starts at 1. `random` is at least 0 and less than 1. */
export function backoffDelay(backoff: Required<Backoff>, attempt: number, random: number): number {
  const { type, delayMs, maxDelayMs, jitter } = backoff;
  const grown = type === "fixed" ? delayMs : delayMs * 2 ** Math.min(attempt - 1, 52);
  const whole = Math.min(grown, maxDelayMs);
  return Math.round(whole * (1 - jitter * random));
}
