/** Which queues there are to compare. */

export interface QueueTarget {
  /** The module of this folder, too. */
  readonly name: string;
  /** As it is called in the report. */
  readonly label: string;
  /** It has a way to put many tasks in line at once. Default true. */
  readonly bulk?: boolean;
}

export const oursQueue: QueueTarget = { name: "redis-sse", label: "redis-sse" };

export const queueTargets: readonly QueueTarget[] = [
  oursQueue,
  { name: "bullmq", label: "BullMQ" },
  { name: "bee-queue", label: "Bee-Queue" },
  { name: "commands", label: "HSET, LPUSH, BLPOP; nothing acknowledged", bulk: false },
];
