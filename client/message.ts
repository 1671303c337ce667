import type { StandardSchemaV1 } from "@standard-schema/spec";

import type { EventSchemas } from "./define-events.js";
import type { StreamMessage } from "./parser.js";

/** An event of the stream. */
export interface Message {
  /** The type of the event. */
  readonly event: string;
  /**
   * The data: the output of the event's schema, else the parsed JSON, else the text. The server sends a string as it is, so without
   * a schema the text "42" becomes a number. For text, for example the tokens of a language model, read `text`.
   */
  readonly data: unknown;
  /** The data as the server sent it. */
  readonly text: string;
  /** The id of the last event that had one. */
  readonly id: string;
}

/** Some events do not arrive. */
export interface Gap {
  /** Why: see the gap reasons of the server. "invalid" also stands for data that does not match its schema. */
  readonly reason: string;
  /** The channels with lost events. Empty if the client found it. */
  readonly channels: readonly string[];
}

/** Reads the data of an event. Returns `null` if it does not match the schema, or if the schema throws. */
export function readMessage(message: StreamMessage, schemas: EventSchemas = {}): Message | null {
  const { event, text } = message;
  const parsed = parseJson(text);
  // The server chooses the name: "constructor" must not find a method.
  const schema = Object.hasOwn(schemas, event) ? schemas[event] : undefined;
  if (schema === undefined) return { ...message, data: parsed === undefined ? text : parsed };
  // The server sends a string as it is. A schema for strings must get "42", and not 42.
  const values = typeof parsed === "object" && parsed !== null ? [parsed, text] : [text, parsed];
  for (const value of values) {
    const result = validate(schema, value);
    if (result !== null) return { ...message, data: result.value };
  }
  return null;
}

function validate(schema: StandardSchemaV1, value: unknown): { readonly value: unknown } | null {
  try {
    const result = schema["~standard"].validate(value);
    if (!(result instanceof Promise)) return result.issues === undefined ? result : null;
    // A schema that answers later would change the order of events.
    result.catch(() => {});
  } catch {
    // A mistake in a schema must not end the stream.
  }
  return null;
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
