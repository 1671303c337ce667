import { ConfigError } from "../errors.js";
import { Admission } from "../replay/admission.js";
import { MAX_CHANNELS } from "../sse/event-id.js";
import type { IdTokens } from "../sse/id-token.js";
import { assertOptions, optionError, readMilliseconds } from "../validate.js";

/**
 * How far back a client may resume. A finite channel has no limit: each client may read it as a whole.
 *
 * - `"all"`: to the oldest event of the history, with any id. An id is not a secret, and a client can write one itself.
 * - `"since-admission"`: to the moment when its first stream had started in the channel.
 * - `{ maxAgeMs }`: to events that are at most that old.
 * - `false`: not at all. Each stream starts as for a new client.
 *
 * With `"since-admission"` and `{ maxAgeMs }`, each id has a signed token. The token is worth nothing to a client with another
 * `key`. Both need the option `secret`.
 */
export type ResumePolicy = "all" | "since-admission" | ResumeAge | false;

/** The maximum age of missed events. */
export interface ResumeAge {
  /**
   * The maximum age, in milliseconds.
   *
   * Redis does not keep the time of an event. Each id has the time at which the client was known to have all events. If this was
   * longer ago, the client gets a `gap` (`trimmed`), and then new events. The time is renewed with the checks of the history
   * (`history.checkMs`). So a client can lose its place earlier, by up to 1.25 times `history.checkMs` plus `heartbeatMs`.
   */
  readonly maxAgeMs: number;
}

/** Throws `ConfigError` if the policy is invalid. */
export function readResumePolicy(policy: unknown): ResumePolicy {
  if (policy === "all" || policy === "since-admission" || policy === false) return policy;
  if (typeof policy !== "object" || policy === null) {
    throw optionError('resume as "all", "since-admission", { maxAgeMs } or false', policy);
  }
  assertOptions("resume", policy, new Set(["maxAgeMs"]));
  const { maxAgeMs } = policy as { readonly maxAgeMs?: unknown };
  return { maxAgeMs: readMilliseconds("resume.maxAgeMs", maxAgeMs) };
}

/** With a token, an id is twice as long. It must also stay below 8 KB. */
const MAX_CHANNELS_WITH_TOKEN = MAX_CHANNELS / 2;

/** Throws `ConfigError` if the policy needs a token, and the service cannot sign it or has too many channels for it. */
export function assertResumable(
  policy: ResumePolicy | undefined,
  tokens: IdTokens | null,
  maxChannels: number,
): void {
  if (!needsToken(policy)) return;
  const name = 'resume as "since-admission" or { maxAgeMs } needs';
  if (tokens === null) throw new ConfigError(`${name} the option secret of createRedisSse()`);
  if (maxChannels <= MAX_CHANNELS_WITH_TOKEN) return;
  const limit = `limits.maxChannelsPerSession of at most ${MAX_CHANNELS_WITH_TOKEN}`;
  throw new ConfigError(`${name} ${limit}, got ${maxChannels}`);
}

function needsToken(policy: ResumePolicy | undefined): policy is "since-admission" | ResumeAge {
  return policy !== undefined && policy !== "all" && policy !== false;
}

/** Returns `null` for a policy that needs no token. */
export function createAdmission(
  policy: ResumePolicy | undefined,
  key: string | undefined,
  tokens: IdTokens | null,
): Admission | null {
  if (tokens === null || !needsToken(policy)) return null;
  return new Admission(tokens, key, policy === "since-admission" ? undefined : policy.maxAgeMs);
}
