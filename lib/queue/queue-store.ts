import { RedisSseError, sanitize } from "../errors.js";
import { scriptTime, type RedisClient } from "../redis/client.js";
import type { Script } from "../redis/script.js";
import type { ResultSettings } from "./queue-options.js";
import type { QueueKeys } from "./scripts/base.js";

export interface QueueStoreOptions {
  readonly name: string;
  readonly keyPrefix: string;
  readonly commands: () => RedisClient;
  /** Makes the epoch of a new history. */
  readonly newEpoch: () => string;
  /** Maximum number of events that are kept of a task. `null` if none are kept. */
  readonly keepEvents: number | null;
  /** Limits for each of the final states. */
  readonly results: Pick<ResultSettings, "maxCount" | "maxBytes" | "maxPayloadBytes">;
}

/**
 * Runs the scripts of one queue.
 *
 * All queues and the history of their tasks' channels share one slot of a cluster. So a change of a task and the event
 * about it are one atomic step.
 */
export class QueueStore {
  /** The name of the queue. */
  readonly name: string;
  /** The channel on which workers learn of new and cancelled tasks. */
  readonly wake: string;
  readonly #options: QueueStoreOptions;
  readonly #keys: QueueKeys;

  constructor(options: QueueStoreOptions) {
    const { keyPrefix, name } = options;
    const queue = `${keyPrefix}queue:{tasks}:${name}`;
    const channel = "{tasks}:task_progress:";
    this.name = name;
    this.wake = `${queue}:wake`;
    this.#options = options;
    this.#keys = [
      queue,
      `${keyPrefix}task:{tasks}:`,
      `${keyPrefix}pos:${channel}`,
      `${keyPrefix}log:${channel}`,
    ];
  }

  /** Runs a script. Rejects with `QUEUE_UNREADABLE` if a key of the queue has the wrong type, or with a Redis error. */
  async run<Result>(script: Script<Result>, args: readonly (string | number)[]): Promise<Result> {
    const { commands, newEpoch, keepEvents, results } = this.#options;
    try {
      const client = commands();
      return await script(client, this.#keys, [
        scriptTime(client),
        newEpoch(),
        keepEvents ?? "",
        this.wake,
        `${results.maxCount} ${results.maxBytes} ${results.maxPayloadBytes}`,
        ...args,
      ]);
    } catch (error) {
      const fault = sanitize(error);
      if (fault.code !== "QUEUE_UNREADABLE") throw fault;
      throw new RedisSseError(
        "QUEUE_UNREADABLE",
        `A key of queue "${this.name}" in Redis has the wrong type. Nothing was changed. Rename or delete that key.`,
      );
    }
  }
}
