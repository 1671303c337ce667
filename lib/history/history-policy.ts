import { ConfigError } from "../errors.js";
import { assertObject, assertOptions, optionError, readMilliseconds, readWholeNumber } from "../validate.js";

/** The limits of a channel's history. */
export interface HistoryBounds {
  /**
   * Maximum number of events.
   *
   * @defaultValue 1_000
   */
  readonly maxLength?: number;
  /**
   * Minimum time for which an event is kept, in milliseconds. It can be kept up to 1.5 times as long.
   *
   * @defaultValue 3_600_000 (one hour)
   */
  readonly maxAgeMs?: number;
}

/** How many events of each channel are kept for clients that reconnect. */
export interface HistoryOptions extends HistoryBounds {
  /**
   * Other limits for some channels. `false`: no history.
   *
   * Each key is the name of a channel. `*` in it matches any text. The first matching key counts. All processes of an application
   * must use the same values.
   */
  readonly channels?: Readonly<Record<string, HistoryBounds | false>>;
  /**
   * Milliseconds between two checks of the subscribed channels. From 100 to 2^31 - 1.
   *
   * Each process compares the history of each subscribed channel with the events that it received. The check finds events that Redis
   * dropped, histories that Redis lost, and writers of crashed processes. Each check reads every subscribed channel once.
   *
   * @defaultValue 30_000
   */
  readonly checkMs?: number;
}

/** Returns the limits of a channel's history. `null` for a channel without history. */
export type HistoryPolicy = (channel: string) => Required<HistoryBounds> | null;

/** The option `history`, with every default filled in. */
export interface HistorySettings {
  readonly policy: HistoryPolicy;
  readonly checkMs: number;
}

const DEFAULT_CHECK_MS = 30_000;
const MIN_CHECK_MS = 100;
const DEFAULTS: Required<HistoryBounds> = { maxLength: 1_000, maxAgeMs: 3_600_000 };
const MAX_LENGTH = 1_000_000;
const MAX_AGE_MS = 365 * 24 * 3_600_000;

/** Checks the option `history`. Throws `ConfigError`. */
export function readHistoryOptions(options: HistoryOptions | false | undefined = {}): HistorySettings {
  if (options === false) return { policy: () => null, checkMs: DEFAULT_CHECK_MS };
  assertOptions("history", options, new Set(["maxLength", "maxAgeMs", "channels", "checkMs"]));
  const { checkMs = DEFAULT_CHECK_MS } = options;
  return {
    policy: readPolicy(options),
    checkMs: readMilliseconds("history.checkMs", checkMs, MIN_CHECK_MS),
  };
}

function readPolicy(options: HistoryOptions): HistoryPolicy {
  const bounds = readBounds("history", options, DEFAULTS);
  const { channels = {} } = options;
  assertObject("history.channels", channels);
  const rules = Object.entries(channels).map(([pattern, given], index) => {
    const name = `history.channels (entry ${index + 1})`;
    if (pattern === "")
      throw new ConfigError(`expected ${name} to have a channel name as its key, got an empty key`);
    return { matches: matcher(pattern), bounds: given === false ? null : readOwnBounds(name, given, bounds) };
  });
  return (channel) => {
    const rule = rules.find(({ matches }) => matches(channel));
    return rule === undefined ? bounds : rule.bounds;
  };
}

function readOwnBounds(
  name: string,
  given: unknown,
  fallback: Required<HistoryBounds>,
): Required<HistoryBounds> {
  if (typeof given !== "object") {
    throw optionError(`${name} as an object or false`, given);
  }
  assertOptions(name, given, new Set(["maxLength", "maxAgeMs"]));
  return readBounds(name, given, fallback);
}

function readBounds(
  name: string,
  given: HistoryBounds,
  fallback: Required<HistoryBounds>,
): Required<HistoryBounds> {
  const { maxLength = fallback.maxLength, maxAgeMs = fallback.maxAgeMs } = given;
  return {
    maxLength: readWholeNumber(`${name}.maxLength`, maxLength, 1, MAX_LENGTH),
    maxAgeMs: readWholeNumber(`${name}.maxAgeMs`, maxAgeMs, 1, MAX_AGE_MS),
  };
}

/** Creates a matcher whose time grows only with the length of the name, because a client may choose the name of a channel. */
function matcher(pattern: string): (channel: string) => boolean {
  const [first = "", ...rest] = pattern.split("*");
  const last = rest.pop();
  if (last === undefined) return (channel) => channel === pattern;
  return (channel) => {
    const end = channel.length - last.length;
    if (end < first.length || !channel.startsWith(first) || !channel.endsWith(last)) return false;
    let at = first.length;
    for (const part of rest) {
      const found = channel.indexOf(part, at);
      if (found < 0 || found + part.length > end) return false;
      at = found + part.length;
    }
    return true;
  };
}
