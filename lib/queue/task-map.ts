import type { StandardSchemaV1 } from "@standard-schema/spec";

import { RedisSseError } from "../errors.js";
import type { Task } from "./task.js";

/** Maps each kind of task of a queue to the type of its payload. */
export type TaskMap = object;

/** The `TaskMap` of a queue without types: any kind, and any payload that JSON can express. */
export type AnyTasks = Record<string, unknown>;

/** The kinds of the tasks of a queue. */
export type KindOf<Tasks extends TaskMap> = keyof Tasks & string;

/** A task of a queue, with the payload type of its `kind`. */
export type TaskOf<Tasks extends TaskMap> = {
  [Kind in KindOf<Tasks>]: Task<Tasks[Kind]> & {
    /** The kind of the task. */
    readonly kind: Kind;
  };
}[KindOf<Tasks>];

/**
 * Schemas that check the payloads of a queue, one for each kind.
 *
 * You can use any library that implements Standard Schema, such as zod, valibot or arktype. The queue stores the output
 * of the schema as the payload.
 *
 * @see https://standardschema.dev
 */
export type TaskSchemas<Tasks extends TaskMap> = {
  readonly [Kind in KindOf<Tasks>]?: StandardSchemaV1<unknown, Tasks[Kind]>;
};

/** Maps each kind of task to its schema. The schemas define the payload types of the queue. */
export type SchemaMap = Readonly<Record<string, StandardSchemaV1>>;

/** The payloads that handlers get: the output types of the schemas. */
export type OutputsOf<Schemas extends SchemaMap> = {
  [Kind in keyof Schemas & string]: StandardSchemaV1.InferOutput<Schemas[Kind]>;
};

/** The payloads that `enqueue()` accepts: the input types of the schemas. */
export type InputsOf<Schemas extends SchemaMap> = {
  [Kind in keyof Schemas & string]: StandardSchemaV1.InferInput<Schemas[Kind]>;
};

/**
 * Returns the output of a schema. Throws `INVALID_TASK` if the schema rejected the payload.
 *
 * The message names the invalid fields. It never contains their values, because they can be secret.
 */
export function readResult(result: StandardSchemaV1.Result<unknown>, kind: string): unknown {
  if (result.issues === undefined) return result.value;
  const places = result.issues.slice(0, 5).map(({ path = [] }) => {
    const keys = path.map((part) => String(typeof part === "object" ? part.key : part));
    return keys.length === 0 ? "the whole payload" : keys.join(".").slice(0, 64);
  });
  throw new RedisSseError(
    "INVALID_TASK",
    `Invalid payload for kind "${kind}". Its schema rejects: ${places.join(", ")}`,
  );
}
