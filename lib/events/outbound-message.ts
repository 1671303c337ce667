import { RedisSseError } from "../errors.js";
import { encodeJson, isLargerThan } from "../serialize.js";
import { describe } from "../validate.js";
import { fitsInEvent, maxFrameBytes } from "../text-splitter.js";
import { assertField, encodeEvent, isReservedEvent, MAX_EVENT_NAME_BYTES } from "../sse/frame.js";

/** An event that an application publishes or sends. */
export interface OutboundMessage {
  /**
   * The type of the event: at most 256 bytes. The browser dispatches the event by this name.
   *
   * @defaultValue "message"
   */
  readonly event?: string | undefined;
  /** The data. A string is sent unchanged, any other value as JSON. */
  readonly data: unknown;
}

export interface SerializedMessage {
  readonly event: string | undefined;
  readonly data: string;
}

/**
 * Checks an event, and converts its data to text. Throws `INVALID_EVENT`, `UNSERIALIZABLE` or `EVENT_TOO_LARGE`.
 */
export function serializeMessage(message: OutboundMessage, maxEventBytes: number): SerializedMessage {
  const { event, data: value } = readMessage(message);
  if (event !== undefined && (typeof event !== "string" || event === "")) {
    throw new RedisSseError(
      "INVALID_EVENT",
      "expected event as a string that is not empty. Omit it for the type message.",
    );
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
      throw new RedisSseError("INVALID_EVENT", `The event name "${event}" is reserved. Use another name.`);
    }
  }
  if (value === undefined) {
    throw new RedisSseError(
      "UNSERIALIZABLE",
      "expected an event { event?, data } with data, got none. To send JSON null, pass null.",
    );
  }
  const data = typeof value === "string" ? value : encodeJson(value, "data");
  if (isLargerThan(data, maxEventBytes)) {
    throw new RedisSseError(
      "EVENT_TOO_LARGE",
      `The data takes ${Buffer.byteLength(data)} bytes, more than ${maxEventBytes} (limits.maxEventBytes). Send less data.`,
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

/** Reads the two fields once. If a getter throws, its error is not passed on, because it may contain secrets. */
function readMessage(message: unknown): { event: unknown; data: unknown } {
  if (typeof message !== "object" || message === null) {
    throw new RedisSseError("INVALID_EVENT", `expected an event { event?, data }, got ${describe(message)}`);
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
    throw new RedisSseError(
      "INVALID_EVENT",
      "expected an event { event?, data }, but reading one of its fields threw an error",
    );
  }
  // An event with a misspelled `event` field would otherwise be sent as `message`.
  if (unknown === undefined) return { event, data };
  const name = /^[\w.-]{1,32}$/.test(unknown) ? `"${unknown}"` : "another field";
  throw new RedisSseError(
    "INVALID_EVENT",
    `expected an event with the fields event and data only, got also ${name}`,
  );
}

/** Whether `serializeMessage()` throws this error. Then the application has made a mistake, and the client has not. */
export function isMessageFault({ code }: RedisSseError): boolean {
  return code === "INVALID_EVENT" || code === "UNSERIALIZABLE" || code === "EVENT_TOO_LARGE";
}

/** As `serializeMessage()`, with the encoded event. */
export function encodeMessage(
  message: OutboundMessage,
  maxEventBytes: number,
): SerializedMessage & { frame: string } {
  const { event, data } = serializeMessage(message, maxEventBytes);
  return { event, data, frame: encodeEvent({ event, data }) };
}
