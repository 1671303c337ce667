import { RedisSseError } from "../errors.js";
import { encodeJson, isLargerThan } from "../serialize.js";
import { describe } from "../validate.js";
import { fitsInEvent, maxFrameBytes } from "../text-splitter.js";
import { assertField, encodeEvent, isReservedEvent, MAX_EVENT_NAME_BYTES } from "../sse/frame.js";

/** What an application sends: `data` as it is when it is a string, anything else as JSON. */
export interface OutboundMessage {
  /** The event's type, dispatched by that name in the browser: at most 256 bytes. Default `message`. */
  readonly event?: string | undefined;
  /** The data. A string is sent as it is, any other value as JSON. */
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
  const { event, data: value } = readMessage(message);
  if (event !== undefined && (typeof event !== "string" || event === "")) {
    throw new RedisSseError("INVALID_EVENT", "expected event as a non-empty string, or left out");
  }
  if (event !== undefined) {
    if (isLargerThan(event, MAX_EVENT_NAME_BYTES)) {
      throw new RedisSseError(
        "EVENT_TOO_LARGE",
        `The event name takes ${Buffer.byteLength(event)} bytes, more than ${MAX_EVENT_NAME_BYTES}. Use a shorter name.`,
      );
    }
    assertField("event", event);
    if (isReservedEvent(event)) {
      throw new RedisSseError("INVALID_EVENT", `expected an event name that is not reserved, got "${event}"`);
    }
  }
  if (value === undefined) {
    throw new RedisSseError(
      "UNSERIALIZABLE",
      "expected a message { event?, data } with data, got none; null is sent as it is",
    );
  }
  const data = typeof value === "string" ? value : encodeJson(value, "data");
  if (isLargerThan(data, maxEventBytes)) {
    throw new RedisSseError(
      "EVENT_TOO_LARGE",
      `expected data of at most ${maxEventBytes} bytes, got ${Buffer.byteLength(data)}`,
    );
  }
  if (!fitsInEvent(data, maxEventBytes)) {
    throw new RedisSseError(
      "EVENT_TOO_LARGE",
      `The data has so many line ends that the event takes more than ${maxFrameBytes(maxEventBytes)} bytes on the wire. Send fewer lines, or JSON.`,
    );
  }
  return { event, data };
}

/** The two fields, each read once; what a getter throws is not passed on. */
function readMessage(message: unknown): { event: unknown; data: unknown } {
  if (typeof message !== "object" || message === null) {
    throw new RedisSseError("INVALID_EVENT", `expected a message { event?, data }, got ${describe(message)}`);
  }
  let event: unknown;
  let data: unknown;
  let unknown: string | undefined;
  try {
    const fields = message as Record<string, unknown>;
    ({ event, data } = fields);
    unknown = Object.keys(fields).find(
      (key) => key !== "event" && key !== "data" && fields[key] !== undefined,
    );
  } catch {
    throw new RedisSseError("INVALID_EVENT", "expected a message whose fields can be read");
  }
  // A misspelt `event` would go out as a plain message.
  if (unknown === undefined) return { event, data };
  const name = /^[\w.-]{1,32}$/.test(unknown) ? ` "${unknown}"` : " another field";
  throw new RedisSseError("INVALID_EVENT", `expected a message of event and data alone, got${name} too`);
}

/** `serializeMessage()`, with the frame that goes on the wire. */
export function encodeMessage(
  message: OutboundMessage,
  maxEventBytes: number,
): SerializedMessage & { frame: string } {
  const { event, data } = serializeMessage(message, maxEventBytes);
  return { event, data, frame: encodeEvent({ event, data }) };
}
