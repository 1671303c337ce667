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
  /** How many events its channel has had by then, as `TaskProgress.seq`; 0 where no history is kept. */
  readonly seq: number;
  /** The number of the event with which its last attempt began; 0 where that is the first. What was written before is void. */
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
  /** Ids are of no queue in particular. */
  readonly #store: QueueStore;

  constructor(deps: QueueDependencies) {
    this.#deps = deps;
    this.#store = new QueueStore({
      ...deps,
      name: "",
      results: { maxCount: 1, maxBytes: 1, maxPayloadBytes: 1 },
    });
  }

  /** One object for each name; options that are given again have to be the same. Throws `ConfigError`. */
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
    throw new ConfigError(`expected the options of queue "${name}" as they were when it was first named`);
  }

  /** A task, whatever its queue; `null` when there is none of that id. Rejects with `INVALID_TASK` or a fault of Redis. */
  async find(id: string): Promise<TaskSnapshot | null> {
    assertTaskId(id);
    const reply = await this.#store.run(readTask, [id]);
    return reply === null ? null : toSnapshot(id, reply);
  }

  /** Writes down the log of a task's channel; whether there was anything to be written. Rejects with a fault of Redis. */
  watch(id: string): Promise<boolean> {
    return this.#store.run(watchTask, [id]);
  }

  get statistics(): readonly QueueStatistics[] {
    return Array.from(this.#queues.values(), ({ queue }) => queue.statistics);
  }

  /** Of those used in this process; `null` where Redis does not tell. Never rejects. */
  counts(): Promise<readonly (QueueCounts | null)[]> {
    return Promise.all(Array.from(this.#queues.values(), ({ queue }) => queue.counts().catch(() => null)));
  }

  async close(): Promise<void> {
    await Promise.all(Array.from(this.#queues.values(), ({ queue }) => queue.close()));
  }
}

/** Schemas are another library's objects: the same ones, or others. */
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
