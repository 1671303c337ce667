import { isDeepStrictEqual } from "node:util";

import { ConfigError } from "../errors.js";
import type { QueueCounts, QueueStatistics } from "./queue-statistics.js";
import { readQueueOptions, type QueueOptions, type QueueSettings } from "./queue-options.js";
import { QueueService, type QueueDependencies } from "./queue-service.js";
import { QueueStore } from "./queue-store.js";
import { readTask, watchTask, type ReadReply } from "./scripts/read.js";
import { assertTaskId, parseTask, type Task } from "./task.js";

/** A task at one moment. */
export interface TaskSnapshot {
  /** The task with its current state. */
  readonly task: Task;
  /**
   * Number of events that its channel had at that moment, as in `TaskProgress.seq`. 0 for a channel without history.
   */
  readonly seq: number;
  /**
   * Number of the `started` event of its last attempt. Output before this event belongs to earlier attempts.
   *
   * It is 0 if the history of the channel did not exist when the attempt started.
   */
  readonly began: number;
}

interface NamedQueue {
  readonly queue: QueueService;
  readonly settings: QueueSettings;
}

/** The queues of a service. */
export class Queues {
  readonly #deps: QueueDependencies;
  readonly #queues = new Map<string, NamedQueue>();
  /** Reads tasks of any queue: a task id is unique over all queues. */
  readonly #store: QueueStore;

  constructor(deps: QueueDependencies) {
    this.#deps = deps;
    this.#store = new QueueStore({
      ...deps,
      name: "",
      results: { maxCount: 1, maxBytes: 1, maxPayloadBytes: 1 },
    });
  }

  /**
   * Returns the queue with this name, always the same object. Throws `ConfigError` if the queue exists with other
   * options.
   */
  get(name: string, given?: QueueOptions<never>): QueueService {
    const known = this.#queues.get(name);
    if (known !== undefined && given === undefined) return known.queue;
    const settings = readQueueOptions(given === undefined ? {} : given);
    if (known === undefined) {
      const queue = new QueueService(name, settings, this.#deps);
      this.#queues.set(name, { queue, settings });
      return queue;
    }
    if (isSame(settings, known.settings)) return known.queue;
    throw new ConfigError(
      `Queue "${name}" already exists with other options. Pass the same options, or none.`,
    );
  }

  /** Reads a task of any queue. `null` if no task has this id. Rejects with `INVALID_TASK` or a Redis error. */
  async find(id: string): Promise<TaskSnapshot | null> {
    assertTaskId(id);
    const reply = await this.#store.run(readTask, [id]);
    return reply === null ? null : toSnapshot(id, reply);
  }

  /**
   * Writes the history of a task's channel if it does not exist. Resolves to whether it was written. Rejects with a
   * Redis error.
   */
  watch(id: string): Promise<boolean> {
    return this.#store.run(watchTask, [id]);
  }

  get statistics(): readonly QueueStatistics[] {
    return Array.from(this.#queues.values(), ({ queue }) => queue.statistics);
  }

  /**
   * The counts of the queues that this process uses. `null` for a queue whose counts Redis did not return. Never
   * rejects.
   */
  counts(): Promise<readonly (QueueCounts | null)[]> {
    return Promise.all(Array.from(this.#queues.values(), ({ queue }) => queue.counts().catch(() => null)));
  }

  async close(): Promise<void> {
    await Promise.all(Array.from(this.#queues.values(), ({ queue }) => queue.close()));
  }
}

/** Compares two settings. Schemas are objects of other libraries, so they are compared by identity. */
function isSame(
  { schemas, ...settings }: QueueSettings,
  { schemas: known, ...rest }: QueueSettings,
): boolean {
  const names = Object.keys(schemas ?? {});
  const isSchemas =
    names.length === Object.keys(known ?? {}).length &&
    (schemas === undefined) === (known === undefined) &&
    names.every((name) => schemas?.[name] === known?.[name]);
  return isSchemas && isDeepStrictEqual(settings, rest);
}

function toSnapshot(id: string, { seq, fields }: ReadReply): TaskSnapshot {
  return { task: parseTask(id, fields), seq, began: Number(fields.get("began") ?? 0) };
}
