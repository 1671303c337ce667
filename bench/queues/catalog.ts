/** Which queues there are to compare. */

export interface QueueTarget {
  readonly name: string;
  /** As it is called in the report. */
  readonly label: string;
  /** It has a way to put many tasks in line at once. Default true. */
  readonly bulk?: boolean;
  /** The module of this folder. Default: the name. */
  readonly module?: string;
  /** Where the compiled scripts are, when it is not this checkout that they measure. */
  readonly folder?: string;
}

export const oursQueue: QueueTarget = { name: "redis-sse", label: "redis-sse", module: "redis-sse" };

export const queueTargets: readonly QueueTarget[] = [
  oursQueue,
  { name: "bullmq", label: "BullMQ" },
  { name: "bee-queue", label: "Bee-Queue" },
  { name: "commands", label: "HSET, LPUSH, BLPOP; nothing acknowledged", bulk: false },
];
