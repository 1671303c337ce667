import { ConfigError } from "../errors.js";
import type { QueueCounts, QueueStatistics } from "./queue-statistics.js";
import type { QueueOptions } from "./queue-options.js";
import { QueueService, type QueueDependencies } from "./queue-service.js";
import { QueueStore } from "./queue-store.js";
import { readTask, watchTask, type ReadReply } from "./scripts/read.js";
import type { AnyTasks, TaskMap } from "./task-map.js";
import { assertTaskId, parseTask, type Task } from "./task.js";

/** A task at one moment. */
export interface TaskSnapshot {
  readonly task: Task;
  /** How many events its channel has had by then, as `TaskProgress.seq`; 0 where no history is kept. */
  readonly seq: number;
  /** The number of the event with which its last attempt began; 0 where that is the first. What was written before is void. */
  readonly began: number;
}

/** The queues of a service. */
export class Queues {
  readonly #deps: QueueDependencies;
  readonly #queues = new Map<string, QueueService>();
  /** Ids are of no queue in particular. */
  readonly #store: QueueStore;

  constructor(deps: QueueDependencies) {
    this.#deps = deps;
    this.#store = new QueueStore({ ...deps, name: "", maxResults: 1 });
  }

  /** One object for each name. Throws `ConfigError`. */
  get<Tasks extends TaskMap = AnyTasks>(name: string, options?: QueueOptions<Tasks>): QueueService<Tasks> {
    const known = this.#queues.get(name);
    if (known === undefined) {
      const queue = new QueueService<Tasks>(name, options, this.#deps);
      this.#queues.set(name, queue as unknown as QueueService);
      return queue;
    }
    if (options !== undefined) {
      throw new ConfigError(`expected the options of queue "${name}" with its first use only`);
    }
    return known as unknown as QueueService<Tasks>;
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
    return Array.from(this.#queues.values(), (queue) => queue.statistics);
  }

  /** Of those used in this process; `null` where Redis does not tell. Never rejects. */
  counts(): Promise<readonly (QueueCounts | null)[]> {
    return Promise.all(Array.from(this.#queues.values(), (queue) => queue.counts().catch(() => null)));
  }

  async close(): Promise<void> {
    await Promise.all(Array.from(this.#queues.values(), (queue) => queue.close()));
  }
}

function toSnapshot(id: string, { seq, fields }: ReadReply): TaskSnapshot {
  return { task: parseTask(id, fields), seq, began: Number(fields.get("began") ?? 0) };
}
