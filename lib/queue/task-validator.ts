import { randomUUID } from "node:crypto";

import type { StandardSchemaV1 } from "@standard-schema/spec";

import { ConfigError, RedisSseError } from "../errors.js";
import { assertOptions } from "../validate.js";
import { readEnqueueOptions, withDefaults, type EnqueueOptions } from "./enqueue-options.js";
import type { NewTask } from "./enqueue-batcher.js";
import type { QueueSettings } from "./queue-options.js";
import { boundedJson } from "./worker/task-context.js";
import { readResult } from "./task-map.js";

/** One of the tasks of `enqueueMany()`. */
export interface TaskEntry<Payload = unknown> {
  /** The kind of the task. */
  readonly kind: string;
  /** The payload, as JSON or as the kind's schema defines it. */
  readonly payload: Payload;
  /** Options of the task. */
  readonly options?: EnqueueOptions;
}

/** A task that can be put in line. */
export interface MadeTask {
  readonly task: NewTask;
  /** As its schema has made it. */
  readonly payload: unknown;
}

/** They are put in line in one step, during which the server does nothing else. */
const MAX_MANY = 1_000;
/** Bytes of all their payloads. */
const MAX_MANY_BYTES = 16 * 1024 * 1024;

/** Checks what is to be put in line, before anything of it goes anywhere. */
export class TaskMaker {
  readonly #settings: QueueSettings;
  readonly #maxBytes: number;

  constructor(settings: QueueSettings, maxBytes: number) {
    this.#settings = settings;
    this.#maxBytes = maxBytes;
  }

  /** Rejects with `INVALID_TASK`, `UNSERIALIZABLE`, `TASK_TOO_LARGE`, `ConfigError`, or what a schema throws. */
  make(kind: string, given: unknown, options: EnqueueOptions): Promise<MadeTask> {
    return this.#make({ kind, payload: given, options }, (check) => check());
  }

  /** `checked` runs each check of ours. A schema runs outside of it, so its own errors pass as they are. */
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
    throw new RedisSseError("INVALID_TASK", `expected kind as one that has a schema: ${kinds}`);
  }

  /** All of them; a fault names the one it is of. Rejects as `make()`. */
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
          `expected tasks of at most ${MAX_MANY_BYTES} bytes together`,
        );
      }
      made.push(task);
    }
    if (new Set(made.map(({ task }) => task.id)).size < made.length) {
      throw new RedisSseError("INVALID_TASK", "expected each task to have an id of its own");
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
