import type { ChannelSelection } from "../events/channel-name.js";
import { RedisSseError } from "../errors.js";
import type { SessionKey, StreamRequest } from "./sink.js";
import type { ResumePolicy } from "./resume-policy.js";
import { ticketOf } from "./stream-ticket.js";

/** The channels that a client may read, together with its other rights. A resolver can return it. */
export interface StreamAccess {
  /** The channels that the client may read. Without channels, the answer is 403. */
  readonly channels: ChannelSelection;
  /**
   * Identifies the caller, for example by a user's id.
   *
   * @defaultValue `key` of the mount
   */
  readonly key?: SessionKey;
  /**
   * When the right ends, as a `Date` or in milliseconds since 1970.
   *
   * At this time, the server closes the stream with reason `authorization-expired`. The client reconnects, and the resolver runs
   * again. The server adds a random delay of up to 5 s, so that clients with equal times do not all reconnect at once. If the
   * right has already ended when the client connects, the answer is 401.
   *
   * @defaultValue the right does not end
   */
  readonly expiresAt?: Date | number | null | undefined;
  /**
   * How far back the client may resume.
   *
   * @defaultValue `resume` of the mount
   */
  readonly resume?: ResumePolicy | undefined;
}

/** The answer of a resolver. */
export type AccessAnswer = ChannelSelection | StreamAccess;

const FIELDS: ReadonlySet<string> = new Set<keyof StreamAccess>(["channels", "key", "expiresAt", "resume"]);

/**
 * Returns the request with the rights of the answer, and its channels. Throws `INVALID_CHANNEL` for an object without `channels` or
 * with an unknown property. `parseSelection()` checks the channels.
 */
export function applyAccess(
  request: StreamRequest,
  answer: AccessAnswer,
): { readonly request: StreamRequest; readonly selection: ChannelSelection } {
  if (!isAccess(answer)) return { request, selection: answer };
  if (!("channels" in answer) || !Object.keys(answer).every((name) => FIELDS.has(name))) {
    throw new RedisSseError(
      "INVALID_CHANNEL",
      "The object that the resolver returns must have channels. It can also have key, expiresAt and resume, but nothing else.",
    );
  }
  const { channels, key = request.key, expiresAt = request.expiresAt, resume = request.resume } = answer;
  const withRights = { ...request, key, expiresAt, resume };
  const ticket = ticketOf(answer);
  if (ticket === undefined) return { request: withRights, selection: channels };
  return { request: { ...withRights, ticket }, selection: channels };
}

function isAccess(answer: AccessAnswer): answer is StreamAccess {
  return typeof answer === "object" && answer !== null && !Array.isArray(answer);
}
