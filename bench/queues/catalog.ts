/** The queue libraries to compare. */

export interface QueueTarget {
  readonly name: string;
  /** Name in the report. */
  readonly label: string;
  /** Whether the library can enqueue many tasks in one call. Defaults to true. */
  readonly bulk?: boolean;
  /** Module in this folder. Defaults to the name. */
  readonly module?: string;
  /** Folder of the compiled scripts, if they measure another checkout. */
  readonly folder?: string;
}

export const oursQueue: QueueTarget = { name: "redis-sse", label: "redis-sse", module: "redis-sse" };

export const queueTargets: readonly QueueTarget[] = [
  oursQueue,
  { name: "bullmq", label: "BullMQ" },
  { name: "bee-queue", label: "Bee-Queue" },
  { name: "commands", label: "HSET, LPUSH, BLPOP; nothing acknowledged", bulk: false },
];
