import { EncodedFrames, addId, addRetry, encodeControl } from "../sse/frame.js";
import { RedisSseError } from "../errors.js";
import { encodeMessage, type OutboundMessage } from "../events/outbound-message.js";
import type { Beginning } from "../replay/replay.js";
import { describe } from "../validate.js";

/** The first events of the application, encoded. */
export interface FirstEvents {
  readonly frames: string;
  readonly count: number;
}

export const NO_FIRST_EVENTS: FirstEvents = { frames: "", count: 0 };

/** Encodes `StreamRequest.first`. Throws `INVALID_EVENT`, `UNSERIALIZABLE` or `EVENT_TOO_LARGE`. */
export function encodeFirst(
  messages: readonly OutboundMessage[] | undefined,
  maxEventBytes: number,
): FirstEvents {
  if (messages === undefined) return NO_FIRST_EVENTS;
  // An `async` function of an application in JavaScript returns a promise.
  if (!Array.isArray(messages)) {
    throw new RedisSseError(
      "INVALID_EVENT",
      `expected first as an array of events, got ${describe(messages)}`,
    );
  }
  const frames = messages.map((message: OutboundMessage) => encodeMessage(message, maxEventBytes).frame);
  return { frames: frames.join(""), count: frames.length };
}

export interface Opening extends Beginning {
  readonly sessionId: string;
  readonly channels: readonly string[];
  readonly retryMs: number;
  /** If a client receives nothing for much longer than this, its connection is dead. `false` means no heartbeats. */
  readonly heartbeatMs: number | false;
  /** The id of the client's position, if a channel has a history. */
  readonly id: string | undefined;
  readonly first: FirstEvents;
}

/**
 * Encodes the start of a stream: `retry:`, `connected`, the first events of the application, and the gaps. It is one block,
 * because events may already be buffered, and each must follow its gap.
 */
export function encodeOpening(opening: Opening): EncodedFrames {
  const { sessionId, channels, retryMs, heartbeatMs, id, recovered, gaps, first } = opening;
  // The last gap carries the id. A client that leaves earlier does not have the id, and gets the gaps again.
  const last = gaps.at(-1);
  const data = { sessionId, channels, recovered, heartbeatMs: heartbeatMs || null };
  const connected = encodeControl("connected", data, last === undefined ? id : undefined);
  return new EncodedFrames(
    addRetry(connected, retryMs) +
      first.frames +
      gaps.map(({ frame }, index) => (index === gaps.length - 1 ? addId(frame, id!) : frame)).join(""),
  );
}
