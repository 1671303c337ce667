import { RedisSseError } from "../errors.js";

/** Stands for the channel of an event that only one session gets. No real channel has this name. */
export const NO_CHANNEL = "";

/** Maximum length of a channel name, in bytes of UTF-8. Redis itself allows 512 MB. */
export const MAX_CHANNEL_BYTES = 512;

// oxlint-disable-next-line no-control-regex -- control characters are what must not pass
const CONTROL = /[\u0000-\u001f\u007f]/;
// UTF-8 converts a lone surrogate to U+FFFD, so the name would be that of another channel.
const LONE_SURROGATE = /\p{Surrogate}/u;
const KEYSPACE = /^__key(space|event)@/;

/** Checks a channel name from a caller. The value can have any type. */
export function assertChannel(name: unknown, keyPrefix: string): asserts name is string {
  if (typeof name !== "string") {
    throw invalid(
      `expected a channel name as a string, got ${Array.isArray(name) ? "an array" : typeof name}`,
    );
  }
  if (name === "") throw invalid("expected a channel name, got an empty string");
  if (CONTROL.test(name)) throw invalid("expected a channel name without control characters");
  if (LONE_SURROGATE.test(name)) throw invalid("expected a channel name in well-formed Unicode");
  if (Buffer.byteLength(name) > MAX_CHANNEL_BYTES) {
    throw invalid(
      `expected a channel name of at most ${MAX_CHANNEL_BYTES} bytes, got ${Buffer.byteLength(name)}`,
    );
  }
  // Keyspace events reveal every key of the database. Channels with our prefix are internal, for example to wake workers.
  if (KEYSPACE.test(name) || (keyPrefix !== "" && name.startsWith(keyPrefix))) {
    throw new RedisSseError(
      "FORBIDDEN",
      "Clients must not read this channel: it is a keyspace event, or starts with the keyPrefix of the service.",
    );
  }
}

/** The return value of a resolver: one channel, several channels, or nothing. */
export type ChannelSelection = string | readonly string[] | null | undefined | false;

/**
 * Returns the channels of a selection in the same order, without duplicates. Throws `INVALID_CHANNEL` for a value of another type.
 * A query parser can return arrays and objects, which must not become a channel such as "a,b".
 */
export function parseSelection(selection: unknown, keyPrefix: string): readonly string[] {
  if (selection === null || selection === undefined || selection === false) return [];
  const names: readonly unknown[] = Array.isArray(selection) ? selection : [selection];
  const channels = new Set<string>();
  for (const name of names) {
    assertChannel(name, keyPrefix);
    channels.add(name);
  }
  return [...channels];
}

/** As `parseSelection()`, for a stream: also throws `FORBIDDEN` without channels, and `LIMIT_CHANNELS` for more than `max`. */
export function parseStreamSelection(selection: unknown, keyPrefix: string, max: number): readonly string[] {
  const names = parseSelection(selection, keyPrefix);
  if (names.length === 0) throw new RedisSseError("FORBIDDEN", "no channel is allowed for this request");
  if (names.length > max) {
    throw new RedisSseError(
      "LIMIT_CHANNELS",
      `a stream can have at most ${max} channels (limits.maxChannelsPerSession), got ${names.length}`,
    );
  }
  return names;
}

function invalid(message: string): RedisSseError {
  return new RedisSseError("INVALID_CHANNEL", message);
}
