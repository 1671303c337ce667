import { optionError } from "../validate.js";

/**
 * How far back a client may resume.
 *
 * - `"all"`: to the oldest event of the history.
 * - `false`: not at all. Each stream starts with new events.
 */
export type ResumePolicy = "all" | false;

/** Throws `ConfigError` if the policy is invalid. */
export function readResumePolicy(policy: unknown): ResumePolicy {
  if (policy === "all" || policy === false) return policy;
  throw optionError('resume as "all" or false', policy);
}
