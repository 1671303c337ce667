import { monotonicNow, type Clock } from "./clock.js";
import { createLog, printable } from "./log.js";
import { describeThrown, ignoreRejection } from "./thrown.js";
import { optionError } from "./validate.js";

/**
 * Where a service writes its messages: the option `logger`. `console` and a pino logger both fit. Each function gets one
 * finished string, in which control characters and text-direction characters are escaped. If a function throws or rejects, the
 * service ignores it.
 */
export interface Logger {
  /** Details of connections and subscriptions. */
  debug(message: string): void;
  /** What is worth knowing, and needs no action. */
  info(message: string): void;
  /** A configuration that loses data or surprises, or a fault that passes by itself. */
  warn(message: string): void;
  /** An application's function that failed. */
  error(message: string): void;
}

/** A value in a message: `%s` shows it as text. */
export type LogValue = string | number | boolean | null | undefined;

const debug = createLog("service");

/** Warnings and errors go to the console, the rest to `DEBUG=redis-sse:service`. */
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

/** The same fault is written again after this time. */
const PERIOD_MS = 60_000;

/** The most warnings, and the most faults, that are remembered. Their keys may have names in them. */
const MAX_KEYS = 1_000;

/**
 * The messages of one service. In a text, each `%s` stands for the next value. Values are escaped, so that no name can forge
 * a line or change the terminal. The functions never throw.
 */
export class ServiceLog {
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #warned = new Set<string>();
  /** When each fault was written last, and whether it lasts still. */
  readonly #faults = new Map<string, { at: number; lasts: boolean }>();

  constructor(logger: Logger, clock: Clock) {
    this.#logger = logger;
    this.#clock = clock;
  }

  /** Details of connections and subscriptions. */
  debug(text: string, ...values: readonly LogValue[]): void {
    this.#write("debug", text, values);
  }

  /** What needs no action. */
  info(text: string, ...values: readonly LogValue[]): void {
    this.#write("info", text, values);
  }

  /** A configuration that loses data or surprises, or a fault. */
  warn(text: string, ...values: readonly LogValue[]): void {
    this.#write("warn", text, values);
  }

  /** Writes what an application's function threw, with its stack and causes, after the text. */
  error(thrown: unknown, text: string, ...values: readonly LogValue[]): void {
    // The lines behind the first are indented, so that none looks like another message.
    const lines = describeThrown(thrown).split("\n").map(printable);
    this.#write("error", text, values, `: ${lines.join("\n    ")}`);
  }

  /** Warns of a mistake in code or configuration: only the first time for each `key`. */
  warnOnce(key: string, text: string, ...values: readonly LogValue[]): void {
    if (this.#warned.has(key)) return;
    dropOldest(this.#warned);
    this.#warned.add(key);
    this.warn(text, ...values);
  }

  /** Warns of a fault that lasts: at most once a minute for each `key`. */
  fault(key: string, text: string, ...values: readonly LogValue[]): void {
    const now = monotonicNow(this.#clock);
    const known = this.#faults.get(key);
    if (known !== undefined && now - known.at < PERIOD_MS) return;
    if (known === undefined) dropOldest(this.#faults);
    this.#faults.set(key, { at: now, lasts: true });
    this.warn(text, ...values);
  }

  /** A fault is over. Writes the text once, if the fault was written. */
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

/** Makes room for one more key. */
function dropOldest(keys: Set<string> | Map<string, unknown>): void {
  if (keys.size < MAX_KEYS) return;
  for (const oldest of keys.keys()) return void keys.delete(oldest);
}
