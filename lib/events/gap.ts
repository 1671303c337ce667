import { encodeEvent } from "../sse/frame.js";
import { NO_CHANNEL } from "./channel-name.js";

/**
 * Why a client misses events. The file that decides it is in parentheses.
 *
 * - `interrupted`: the connection to Redis was lost, and the missed events are in no history (`replay/replay.ts`).
 * - `trimmed`: the history no longer has the missed events (`replay/gap-rules.ts`).
 * - `epoch`: Redis lost the history, and a new history started (`replay/gap-rules.ts`).
 * - `malformed`: the client sent an invalid id (`replay/last-event-id.ts`).
 * - `foreign`: the client's id has no place in this channel (`replay/gap-rules.ts`).
 * - `future`: the client's id is ahead of the history (`replay/gap-rules.ts`), or Redis has lost the newest events
 *   (`replay/catch-up.ts`).
 * - `limit`: the client missed more than `limits.maxReplayEvents` events (`replay/gap-rules.ts`).
 * - `too-large`: an event's data exceeds `limits.maxEventBytes`, its frame exceeds four times that, or its name exceeds 256 bytes
 *   (`events/inbound-event.ts`).
 * - `invalid`: an event cannot be sent (`events/inbound-event.ts`), a rule failed for it (`sessions/event-rules.ts`), or another
 *   program has damaged the history (`replay/gap-rules.ts`).
 * - `slow-consumer`: the client was too slow, and its policy drops events (`backpressure/backlog.ts`).
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
 * Creates a `gap` event: the client will not get some events of these channels. It is for all clients of `channel`, or for one
 * session.
 */
export function createGap(
  channels: readonly string[],
  reason: GapReason,
  channel: string = NO_CHANNEL,
): GapEvent {
  const data = JSON.stringify({ channels, reason });
  return { channel, event: "gap", data, frame: encodeEvent({ event: "gap", data }) };
}

/** Creates the `gap` event that all clients of a channel get instead of an invalid or too large event. */
export function createReplacement(
  channel: string,
  reason: GapReason,
): GapEvent & { readonly gap: GapReason } {
  return { ...createGap([channel], reason, channel), gap: reason };
}
