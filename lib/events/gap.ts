import { encodeEvent } from "../sse/frame.js";
import { NO_CHANNEL } from "./channel-name.js";

/**
 * Why a client does not get what was published, and where that is decided:
 * - `interrupted`: the connection to Redis was lost, and the missed events are in no log (`replay/replay.ts`);
 * - `trimmed`: the log no longer has the missed events; `epoch`: the log was lost, and has begun anew; `malformed`, `foreign`,
 *   `future`: the client's id is none, has no place in this channel, or is ahead of its log; `limit`: more would have to be
 *   sent than `limits.maxReplayEvents` (all of them: `replay/gap-rules.ts`);
 * - `too-large`: a single event whose data exceeds `limits.maxEventBytes`, whose frame exceeds four times that, or whose name
 *   exceeds 256 bytes (`events/inbound-event.ts`);
 * - `invalid`: a single event that cannot be sent (`events/inbound-event.ts`), or for which a rule failed
 *   (`sessions/event-rules.ts`), or a log that another program has damaged (`replay/gap-rules.ts`);
 * - `slow-consumer`: the client read too slowly, and its stream drops events rather than end (`backpressure/backlog.ts`).
 */
export type GapReason =
  | "interrupted"
  | "trimmed"
  | "epoch"
  | "malformed"
  | "foreign"
  | "future"
  | "limit"
  | "too-large"
  | "invalid"
  | "slow-consumer";

/** The event `gap`, in the form of an `InboundEvent`. */
export interface GapEvent {
  readonly channel: string;
  readonly event: "gap";
  readonly data: string;
  readonly frame: string;
}

/**
 * The `gap` event: something was published on these channels that the client will not get. It goes to the
 * members of `channel`, or to one session as a whole.
 */
export function createGap(
  channels: readonly string[],
  reason: GapReason,
  channel: string = NO_CHANNEL,
): GapEvent {
  const data = JSON.stringify({ channels, reason });
  return { channel, event: "gap", data, frame: encodeEvent({ event: "gap", data }) };
}

/** What the members of a channel get in place of an event that none of them can be sent. */
export function createReplacement(
  channel: string,
  reason: GapReason,
): GapEvent & { readonly gap: GapReason } {
  return { ...createGap([channel], reason, channel), gap: reason };
}
