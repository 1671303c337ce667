import type { StandardSchemaV1 } from "@standard-schema/spec";

import type { StreamMessage } from "./parser.js";

/** An event of the stream. */
export interface Message {
  /** The type of the event. */
  readonly event: string;
  /** The data: what the schema of the event returned, else the parsed JSON, else the text. */
  readonly data: unknown;
  /** The data as the server sent it. */
  readonly text: string;
  /** The id of the last event that had one. */
  readonly id: string;
}

/** Events that the client does not get. */
export interface Gap {
  /** Why: see the gap reasons of the server. "invalid" also stands for data that does not match its schema. */
  readonly reason: string;
  /** The channels with lost events. Empty if the client found it. */
  readonly channels: readonly string[];
}

/** Reads the data of an event. Returns `null` if it does not match the schema. */
export function readMessage(message: StreamMessage, schema: StandardSchemaV1 | undefined): Message | null {
  const parsed = parseJson(message.text);
  const value = parsed === undefined ? message.text : parsed;
  if (schema === undefined) return { ...message, data: value };
  const result = schema["~standard"].validate(value);
  // A schema that answers later would change the order of events.
  if (result instanceof Promise || result.issues !== undefined) return null;
  return { ...message, data: result.value };
}

/** Returns the properties of the data of a control event. Returns none if the data is not JSON. */
export function parseObject(text: string): object {
  const value = parseJson(text);
  return typeof value === "object" && value !== null ? value : {};
}

/** Returns `undefined` for text that is not JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
