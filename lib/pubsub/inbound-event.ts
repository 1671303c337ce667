import { isLargerThan } from "../serialize.js";
import { parseMessage } from "./envelope.js";
import { encodeEvent, isReservedEvent } from "./frame.js";

export type GapReason = "interrupted" | "too-large";

/** The channel of what is meant for one session alone. No channel has this name. */
export const NO_CHANNEL = "";

/** One event on its way to the sessions of a channel, encoded once for all of them. */
export interface InboundEvent {
  readonly channel: string;
  /** The event's type; `undefined` is what a client dispatches as `message`. */
  readonly event: string | undefined;
  readonly data: string;
  readonly frame: Buffer;
}

/**
 * Makes an event of what came over a Redis channel, where any program may publish: `null` for an envelope
 * that is malformed or poses as one of our control events, and a `gap` in place of one that is too large.
 */
export function readInboundEvent(
  channel: string,
  message: string,
  maxEventBytes: number,
): InboundEvent | null {
  const envelope = parseMessage(message);
  if (envelope === null) return null;
  const { event, data } = envelope;
  if (event !== undefined && isReservedEvent(event)) return null;
  if (isLargerThan(data, maxEventBytes)) return createGap([channel], "too-large", channel);
  try {
    return { channel, event, data, frame: encodeEvent({ event, data }) };
  } catch {
    // The encoder refuses an event name that would begin another field.
    return null;
  }
}

/**
 * The `gap` event: something was published on these channels that the client will not get. It goes to the
 * members of `channel`, or to one session as a whole.
 */
export function createGap(
  channels: readonly string[],
  reason: GapReason,
  channel: string = NO_CHANNEL,
): InboundEvent {
  const data = JSON.stringify({ channels, reason });
  return { channel, event: "gap", data, frame: encodeEvent({ event: "gap", data }) };
}
