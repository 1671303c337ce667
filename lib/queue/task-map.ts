import type { StandardSchemaV1 } from "@standard-schema/spec";

import { RedisSseError } from "../errors.js";
import type { Task } from "./task.js";

/** The tasks of a queue: what each kind carries. */
export type TaskMap = object;

/** A queue of which nothing is said takes any kind, and any payload that JSON can express. */
export type AnyTasks = Record<string, unknown>;

/** The kinds of the tasks of a queue. */
export type KindOf<Tasks extends TaskMap> = keyof Tasks & string;

/** The task that a handler gets: `kind` tells what `payload` is. */
export type TaskOf<Tasks extends TaskMap> = {
  [Kind in KindOf<Tasks>]: Task<Tasks[Kind]> & {
    /** The kind of the task. */
    readonly kind: Kind;
  };
}[KindOf<Tasks>];

/**
 * A check of each kind's payload, of any library that speaks Standard Schema (https://standardschema.dev): zod, valibot,
 * arktype. What it makes of the payload is what is put in line.
 */
export type TaskSchemas<Tasks extends TaskMap> = {
  readonly [Kind in KindOf<Tasks>]?: StandardSchemaV1<unknown, Tasks[Kind]>;
};

/** A schema for each kind, from which a queue learns what its tasks carry. */
export type SchemaMap = Readonly<Record<string, StandardSchemaV1>>;

/** What handlers get: what the schemas make of a payload. */
export type OutputsOf<Schemas extends SchemaMap> = {
  [Kind in keyof Schemas & string]: StandardSchemaV1.InferOutput<Schemas[Kind]>;
};

/** What is given to `enqueue()`: what the schemas take. */
export type InputsOf<Schemas extends SchemaMap> = {
  [Kind in keyof Schemas & string]: StandardSchemaV1.InferInput<Schemas[Kind]>;
};

/**
 * What a schema made of a payload. Throws `INVALID_TASK` for a payload that the schema refuses. The message names the
 * fields and says nothing of their values.
 */
export function readResult(result: StandardSchemaV1.Result<unknown>, kind: string): unknown {
  if (result.issues === undefined) return result.value;
  const places = result.issues.slice(0, 5).map(({ path = [] }) => {
    const keys = path.map((part) => String(typeof part === "object" ? part.key : part));
    return keys.length === 0 ? "the whole" : keys.join(".").slice(0, 64);
  });
  throw new RedisSseError(
    "INVALID_TASK",
    `expected a payload of kind "${kind}" that its schema admits; wrong: ${places.join(", ")}`,
  );
}
