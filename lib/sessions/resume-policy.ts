import { ConfigError } from "../errors.js";
import { Admission } from "../replay/admission.js";
import { MAX_CHANNELS } from "../sse/event-id.js";
import type { IdTokens } from "../sse/id-token.js";
import { assertOptions, optionError, readMilliseconds } from "../validate.js";

/**
 * How far back a client may resume. The limits do not apply to finite channels.
 *
 * - `"all"`: to the oldest event in the history. Ids are not signed, so a client can create an id for any position.
 * - `"since-admission"`: to the position where its first stream of the channel started.
 * - `{ maxAgeMs }`: to events of at most this age.
 * - `false`: not at all. Each stream starts as for a new client.
 *
 * With `"since-admission"` and `{ maxAgeMs }`, each id has a signed token. The token is not valid for a client with another
 * `key`. Both need the option `secret`.
 */
export type ResumePolicy = "all" | "since-admission" | ResumeAge | false;

/** The maximum age of missed events. */
export interface ResumeAge {
  /**
   * The maximum age, in milliseconds.
   *
   * Redis does not store the time of an event. So each id contains the last time at which the server knew that the client had all
   * events. If this time is more than `maxAgeMs` ago, the client gets a `gap` (`trimmed`), and then new events.
   *
   * The server renews the time at each check of the history (`history.checkMs`). So a client can lose its position earlier than
   * after `maxAgeMs`, by up to 1.25 times `history.checkMs` plus `heartbeatMs`.
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

/** With a token, an id is twice as long. It must stay below 8 KB too. */
const MAX_CHANNELS_WITH_TOKEN = MAX_CHANNELS / 2;

/** Throws `ConfigError` if the policy needs a token, and the service has no `secret` or allows too many channels. */
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
