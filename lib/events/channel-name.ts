import { RedisSseError } from "../errors.js";

/** The channel of what is meant for one session alone. No channel has this name. */
export const NO_CHANNEL = "";

/** The longest channel name, in bytes of UTF-8. Redis would take 512 MB. */
export const MAX_CHANNEL_BYTES = 512;

// oxlint-disable-next-line no-control-regex -- control characters are what must not pass
const CONTROL = /[\u0000-\u001f\u007f]/;
// UTF-8 turns a lone surrogate into U+FFFD: the name of another channel.
const LONE_SURROGATE = /\p{Surrogate}/u;
const KEYSPACE = /^__key(space|event)@/;

/** Checks one channel name as it came from a caller, of whatever type it is. */
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
  // Keyspace events tell every key of the database, and our own channels wake workers: not for browsers.
  if (KEYSPACE.test(name) || (keyPrefix !== "" && name.startsWith(keyPrefix))) {
    throw new RedisSseError("FORBIDDEN", "this channel is not open to streams");
  }
}

/** What a resolver may answer: one channel, several, or nothing. */
export type ChannelSelection = string | readonly string[] | null | undefined | false;

/**
 * The channels of a selection, each once, in their order; none for "nothing". Anything else than the type
 * says (a query parser hands out arrays and objects) is `INVALID_CHANNEL`, never a channel named "a,b".
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

function invalid(message: string): RedisSseError {
  return new RedisSseError("INVALID_CHANNEL", message);
}
