import { RedisSseError, sanitize } from "../errors.js";
import { scriptTime, type RedisClient } from "../redis/client.js";
import type { Script } from "../redis/script.js";
import type { ResultSettings } from "./queue-options.js";
import type { QueueKeys } from "./scripts/base.js";

export interface QueueStoreOptions {
  readonly name: string;
  readonly keyPrefix: string;
  readonly commands: () => RedisClient;
  /** Of a log that begins now. */
  readonly newEpoch: () => string;
  /** Most events kept of a task; `null` for none. */
  readonly keepEvents: number | null;
  /** What is kept of each way to end. */
  readonly results: Pick<ResultSettings, "maxCount" | "maxBytes" | "maxPayloadBytes">;
}

/**
 * Runs the scripts of one queue. All queues, and the logs of their tasks' channels, live in one slot of a cluster: a move
 * and what it tells are one step.
 */
export class QueueStore {
  /** The queue's. */
  readonly name: string;
  /** The channel that wakes workers, and tells them what was cancelled. */
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

  /** Rejects with `QUEUE_UNREADABLE` if a set of the queue has the wrong type, or with a fault of Redis. */
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
