import { RedisSseError } from "../errors.js";
import { encodeJson, isLargerThan } from "../serialize.js";
import { assertField, encodeEvent, isReservedEvent } from "./frame.js";

/** What an application sends: `data` as it is when it is a string, anything else as JSON. */
export interface OutboundMessage {
  /** The event's type, dispatched by that name in the browser. Default `message`. */
  readonly event?: string | undefined;
  readonly data: unknown;
}

export interface SerializedMessage {
  readonly event: string | undefined;
  readonly data: string;
}

/**
 * Checks a message and turns its data into text, before anything of it goes anywhere. Throws
 * `INVALID_EVENT`, `UNSERIALIZABLE` or `EVENT_TOO_LARGE`.
 */
export function serializeMessage(message: OutboundMessage, maxEventBytes: number): SerializedMessage {
  if (typeof message !== "object" || message === null) {
    throw new RedisSseError("INVALID_EVENT", `expected a message { event?, data }, got ${typeof message}`);
  }
  const unknown = Object.keys(message).find((key) => key !== "event" && key !== "data");
  if (unknown !== undefined) {
    // A misspelt `event` would go out as a plain message.
    throw new RedisSseError(
      "INVALID_EVENT",
      `expected a message of event and data, got "${unknown.slice(0, 32)}" too`,
    );
  }
  const event: unknown = message.event;
  if (event !== undefined && (typeof event !== "string" || event === "")) {
    throw new RedisSseError("INVALID_EVENT", "expected event as a non-empty string, or left out");
  }
  if (event !== undefined) {
    assertField("event", event);
    if (isReservedEvent(event)) {
      throw new RedisSseError("INVALID_EVENT", `expected an event name that is not reserved, got "${event}"`);
    }
  }
  const data = typeof message.data === "string" ? message.data : encodeJson(message.data, "data");
  if (isLargerThan(data, maxEventBytes)) {
    throw new RedisSseError(
      "EVENT_TOO_LARGE",
      `expected data of at most ${maxEventBytes} bytes, got ${Buffer.byteLength(data)}`,
    );
  }
  return { event, data };
}

/** `serializeMessage()`, with the frame that goes on the wire. */
export function encodeMessage(
  message: OutboundMessage,
  maxEventBytes: number,
): SerializedMessage & { frame: Buffer } {
  const { event, data } = serializeMessage(message, maxEventBytes);
  return { event, data, frame: encodeEvent({ event, data }) };
}
