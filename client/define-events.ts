import type { StandardSchemaV1 } from "@standard-schema/spec";

/** The type of the data of each event, by the name of the event. */
export type EventMap = Readonly<Record<string, unknown>>;

/** A schema for each event, by its name. Any library with Standard Schema works: Zod, Valibot, ArkType and others. */
export type EventSchemas = Readonly<Record<string, StandardSchemaV1>>;

/** The types of the data that schemas let through. */
export type EventsOf<Schemas extends EventSchemas> = {
  readonly [Name in keyof Schemas]: StandardSchemaV1.InferOutput<Schemas[Name]>;
};

/** The events of a stream, for the server and the client. */
export interface EventDefinitions<Schemas extends EventSchemas> {
  readonly schemas: Schemas;
  /** Returns an event for `publish()`, with checked types. */
  message<Name extends keyof Schemas & string>(
    event: Name,
    data: StandardSchemaV1.InferInput<Schemas[Name]>,
  ): { readonly event: Name; readonly data: StandardSchemaV1.InferInput<Schemas[Name]> };
}

/**
 * Defines the events of a stream once, for the server and the client.
 *
 * The server publishes with `events.message(name, data)`. The client passes `events` to `connect()`: the handlers get the types,
 * and the client checks the data.
 */
export function defineEvents<const Schemas extends EventSchemas>(
  schemas: Schemas,
): EventDefinitions<Schemas> {
  return { schemas, message: (event, data) => ({ event, data }) };
}
