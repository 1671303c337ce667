import { randomUUID } from "node:crypto";

import type { StandardSchemaV1 } from "@standard-schema/spec";

import { ConfigError, RedisSseError } from "../errors.js";
import { assertOptions } from "../validate.js";
import { readEnqueueOptions, withDefaults, type EnqueueOptions } from "./enqueue-options.js";
import type { NewTask } from "./enqueue-batcher.js";
import type { QueueSettings } from "./queue-options.js";
import { boundedJson } from "./worker/task-context.js";
import { readResult } from "./task-map.js";

/** One task for `enqueueMany()`. */
export interface TaskEntry<Payload = unknown> {
  /** The kind of the task. */
  readonly kind: string;
  /** The payload: a value that JSON can express, or the input of the kind's schema. */
  readonly payload: Payload;
  /** Options of the task. */
  readonly options?: EnqueueOptions;
}

/** A checked task. */
export interface MadeTask {
  readonly task: NewTask;
  /** The payload, as the schema converted it. */
  readonly payload: unknown;
}

/**
 * Maximum number of tasks for `enqueueMany()`. One script enqueues them, and Redis runs no other command during that
 * time.
 */
const MAX_MANY = 1_000;
/** Maximum size of all their payloads. */
const MAX_MANY_BYTES = 16 * 1024 * 1024;

/** Checks tasks before they are sent to Redis. */
export class TaskMaker {
  readonly #settings: QueueSettings;
  readonly #maxBytes: number;

  constructor(settings: QueueSettings, maxBytes: number) {
    this.#settings = settings;
    this.#maxBytes = maxBytes;
  }

  /**
   * Rejects with `INVALID_TASK`, `UNSERIALIZABLE`, `TASK_TOO_LARGE`, `ConfigError`, or any error that a schema throws.
   */
  make(kind: string, given: unknown, options: EnqueueOptions): Promise<MadeTask> {
    return this.#make({ kind, payload: given, options }, (check) => check());
  }

  /** `checked` runs each check of this library. A schema runs outside of it, so that its own errors stay unchanged. */
  async #make(
    { kind, payload: given, options = {} }: TaskEntry,
    checked: <T>(check: () => T) => T,
  ): Promise<MadeTask> {
    const { id, extra, schema } = checked(() => this.#readEntry(kind, options));
    let payload = given;
    if (schema !== undefined) {
      const result = await schema["~standard"].validate(given);
      payload = checked(() => readResult(result, kind));
    }
    const json = checked(() => boundedJson(payload, "payload", this.#maxBytes));
    return { task: { id, kind, payload: json, extra }, payload };
  }

  #readEntry(
    kind: string,
    options: EnqueueOptions,
  ): { readonly id: string; readonly extra: string; readonly schema: StandardSchemaV1 | undefined } {
    if (typeof kind !== "string" || kind === "" || kind.length > 128) {
      throw new RedisSseError("INVALID_TASK", "expected kind as a string of 1 to 128 characters");
    }
    const { schemas, taskDefaults, resultTtlMs } = this.#settings;
    const { id = randomUUID(), extra } = readEnqueueOptions(withDefaults(options, taskDefaults), resultTtlMs);
    if (schemas === undefined) return { id, extra, schema: undefined };
    const schema = Object.hasOwn(schemas, kind) ? schemas[kind] : undefined;
    if (schema !== undefined) return { id, extra, schema };
    const kinds = Object.keys(schemas).join(", ");
    throw new RedisSseError(
      "INVALID_TASK",
      `This kind of task has no schema. Use one of these kinds: ${kinds}`,
    );
  }

  /** Checks a list of tasks. Rejects like `make()`. The error message starts with the index of the invalid task. */
  async makeMany(entries: readonly TaskEntry[]): Promise<readonly MadeTask[]> {
    if (!Array.isArray(entries) || entries.length > MAX_MANY) {
      throw new ConfigError(`expected a list of at most ${MAX_MANY} tasks`);
    }
    const made: MadeTask[] = [];
    let bytes = 0;
    for (const [index, entry] of entries.entries()) {
      const task = await this.#makeEntry(entry as TaskEntry, index);
      bytes += task.task.payload.length;
      if (bytes > MAX_MANY_BYTES) {
        throw new RedisSseError(
          "TASK_TOO_LARGE",
          `The payloads of these tasks are larger than ${MAX_MANY_BYTES} bytes together. Enqueue them in several calls.`,
        );
      }
      made.push(task);
    }
    if (new Set(made.map(({ task }) => task.id)).size < made.length) {
      throw new RedisSseError(
        "INVALID_TASK",
        "Two of these tasks have the same id. Use a different id for each task.",
      );
    }
    return made;
  }

  #makeEntry(entry: TaskEntry, index: number): Promise<MadeTask> {
    const checked = <T>(check: () => T): T => {
      try {
        return check();
      } catch (error) {
        throw error instanceof RedisSseError ? withIndex(error, index) : error;
      }
    };
    checked(() => {
      assertOptions("a task", entry, new Set(["kind", "payload", "options"]));
    });
    return this.#make(entry, checked);
  }
}

function withIndex(fault: RedisSseError, index: number): RedisSseError {
  const message = `task ${index}: ${fault.message}`;
  return fault instanceof ConfigError ? new ConfigError(message) : new RedisSseError(fault.code, message);
}
