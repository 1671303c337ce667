import { monotonicNow, type Clock } from "./clock.js";
import { createLog, printable } from "./log.js";
import { describeThrown, ignoreRejection } from "./thrown.js";
import { optionError } from "./validate.js";

/**
 * The logger of a service: the option `logger`. You can pass `console` or a pino logger.
 *
 * Each function gets one finished string. Control characters and text-direction characters in it are escaped. If a function
 * throws or rejects, the service ignores the error.
 */
export interface Logger {
  /** Details of connections and subscriptions. */
  debug(message: string): void;
  /** Information that needs no action. */
  info(message: string): void;
  /** A risky configuration, or a problem that can pass by itself. */
  warn(message: string): void;
  /** A function of the application failed. */
  error(message: string): void;
}

/** A value for a `%s` in a message. */
export type LogValue = string | number | boolean | null | undefined;

const debug = createLog("service");

/** Writes warnings and errors to the console, and other messages to `DEBUG=redis-sse:service`. */
const DEFAULT: Logger = {
  debug: (message) => debug("%s", message),
  info: (message) => debug("%s", message),
  warn: (message) => console.warn(message),
  error: (message) => console.error(message),
};

/** Checks the option `logger`. Throws `ConfigError`. */
export function readLogger(logger: unknown): Logger {
  if (logger === undefined) return DEFAULT;
  const isComplete =
    typeof logger === "object" &&
    logger !== null &&
    LEVELS.every((level) => typeof (logger as Partial<Logger>)[level] === "function");
  if (!isComplete)
    throw optionError("logger as an object with the functions debug, info, warn and error", logger);
  return logger as Logger;
}

const LEVELS = ["debug", "info", "warn", "error"] as const;

/** Minimum time between two messages about the same fault. */
const PERIOD_MS = 60_000;

/** Maximum number of remembered warnings, and of remembered faults. Keys can contain names, so their number is not fixed. */
const MAX_KEYS = 1_000;

/**
 * Writes the messages of one service. Each `%s` in a text is replaced by the next value. Values are escaped, so that no name can
 * forge a line or control the terminal. The functions never throw.
 */
export class ServiceLog {
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #warned = new Set<string>();
  /** When each fault was last written, and whether it still lasts. */
  readonly #faults = new Map<string, { at: number; lasts: boolean }>();

  constructor(logger: Logger, clock: Clock) {
    this.#logger = logger;
    this.#clock = clock;
  }

  /** Details of connections and subscriptions. */
  debug(text: string, ...values: readonly LogValue[]): void {
    this.#write("debug", text, values);
  }

  /** Information that needs no action. */
  info(text: string, ...values: readonly LogValue[]): void {
    this.#write("info", text, values);
  }

  /** A risky configuration, or a problem. */
  warn(text: string, ...values: readonly LogValue[]): void {
    this.#write("warn", text, values);
  }

  /** Writes the text, and after it the thrown value with its stack and causes. */
  error(thrown: unknown, text: string, ...values: readonly LogValue[]): void {
    // Further lines are indented, so that they do not look like separate messages.
    const lines = describeThrown(thrown).split("\n").map(printable);
    this.#write("error", text, values, `: ${lines.join("\n    ")}`);
  }

  /** Warns about a mistake in code or configuration, once for each `key`. */
  warnOnce(key: string, text: string, ...values: readonly LogValue[]): void {
    if (this.#warned.has(key)) return;
    dropOldest(this.#warned);
    this.#warned.add(key);
    this.warn(text, ...values);
  }

  /** Warns about a lasting fault, at most once a minute for each `key`. */
  fault(key: string, text: string, ...values: readonly LogValue[]): void {
    const now = monotonicNow(this.#clock);
    const known = this.#faults.get(key);
    if (known !== undefined && now - known.at < PERIOD_MS) return;
    if (known === undefined) dropOldest(this.#faults);
    this.#faults.set(key, { at: now, lasts: true });
    this.warn(text, ...values);
  }

  /** Writes once that a fault is over, if the fault was written. */
  over(key: string, text: string, ...values: readonly LogValue[]): void {
    const known = this.#faults.get(key);
    if (known?.lasts !== true) return;
    known.lasts = false;
    this.warn(text, ...values);
  }

  #write(level: keyof Logger, text: string, values: readonly LogValue[], rest = ""): void {
    let next = 0;
    try {
      const message = text.replace(/%s/g, () => printable(String(values[next++])));
      const answer: unknown = this.#logger[level](`redis-sse: ${message}${rest}`);
      // An async function fits the type too. Without a handler, Node would end the process when it rejects.
      ignoreRejection(answer);
    } catch {
      debug("the logger failed");
    }
  }
}

/** Removes the oldest key if there are too many. */
function dropOldest(keys: Set<string> | Map<string, unknown>): void {
  if (keys.size < MAX_KEYS) return;
  for (const oldest of keys.keys()) return void keys.delete(oldest);
}
