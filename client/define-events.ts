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
  /** The schemas, by the name of the event. */
  readonly schemas: Schemas;
  /** Returns an event for `publish()`, with checked types. */
  message<Name extends keyof Schemas & string>(
    event: Name,
    data: StandardSchemaV1.InferInput<Schemas[Name]>,
  ): DefinedEvent<Name, StandardSchemaV1.InferInput<Schemas[Name]>>;
}

/** An event for `publish()`. */
export interface DefinedEvent<Name extends string, Data> {
  /** The name of the event. */
  readonly event: Name;
  /** The data of the event. */
  readonly data: Data;
}

/** The server refuses to publish them. */
const RESERVED = ["connected", "gap", "error", "closing", "open"];

/**
 * Defines the events of a stream once, for the server and the client.
 *
 * The server publishes with `events.message(name, data)`. The client passes `events` to `connect()`: the handlers get the types,
 * and the client checks the data. The schemas must validate at once, not with a promise. Throws a `TypeError` if a name is
 * reserved: "connected", "gap", "error", "closing" and "open".
 *
 * @example
 * ```ts
 * import { z } from "zod";
 *
 * export const events = defineEvents({ order: z.object({ total: z.number() }) });
 *
 * await sse.publish("orders", events.message("order", { total: 5 })); // in the server
 * connect("/orders/events", { events }).on("order", ({ total }) => show(total)); // in the page
 * ```
 */
export function defineEvents<const Schemas extends EventSchemas>(
  schemas: Schemas,
): EventDefinitions<Schemas> {
  for (const [name, schema] of Object.entries(schemas)) {
    if (RESERVED.includes(name)) throw new TypeError(`defineEvents(): the name "${name}" is reserved.`);
    if (typeof schema?.["~standard"]?.validate !== "function")
      throw new TypeError(`defineEvents(): "${name}" must have a schema that supports Standard Schema.`);
  }
  return { schemas, message: (event, data) => ({ event, data }) };
}
