import { parseMessage } from "./envelope.js";
import { encodeControl, encodeEvent, isReservedEvent } from "./frame.js";

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
  if (isLargerThan(data, maxEventBytes)) return gapOf(channel, "too-large");
  try {
    return { channel, event, data, frame: encodeEvent({ event, data }) };
  } catch {
    // The encoder refuses an event name that would begin another field.
    return null;
  }
}

/** The `gap` event as a delivery to one channel: something was published there that no client will get. */
function gapOf(channel: string, reason: string): InboundEvent {
  const data = { channels: [channel], reason };
  return { channel, event: "gap", data: JSON.stringify(data), frame: encodeControl("gap", data) };
}

/** Whether `text` takes more than `maxBytes` of UTF-8, counting only where its length leaves that open. */
export function isLargerThan(text: string, maxBytes: number): boolean {
  if (text.length > maxBytes) return true;
  return text.length * 3 > maxBytes && Buffer.byteLength(text) > maxBytes;
}
