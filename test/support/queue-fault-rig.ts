import { expect } from "chai";

import type { QueueService, Task, TaskStatus, Worker } from "../../lib/index.js";
import { eventually } from "./eventually.js";
import { describeFaults, type FaultOptions, type FaultRig } from "./fault-rig.js";
import type { RedisServer } from "./redis-server.js";

/** A suite of fault tests of queues. Workers subscribe until their services are closed, so only the end is checked. */
export function describeQueueFaults(
  title: string,
  define: (rig: FaultRig) => void,
  options: FaultOptions = {},
): void {
  describeFaults(title, define, { ...options, hasWorkers: true });
}

/** Resolves when a task has this status. */
export function until(
  queue: QueueService,
  id: string,
  status: TaskStatus = "succeeded",
  timeoutMs?: number,
): Promise<Task> {
  return eventually(async () => {
    const task = await queue.get(id);
    expect(task?.status, id).to.equal(status);
    return task!;
  }, timeoutMs);
}

/** A worker whose tasks all fail. */
export function failAll(queue: QueueService): Worker {
  return queue.worker(() => Promise.reject(new Error("no")), { onError: () => {} });
}

/** Enqueues tasks with these ids. */
export function enqueueAll(queue: QueueService, ids: readonly string[]): Promise<readonly Task[]> {
  return queue.enqueueMany(ids.map((id) => ({ kind: "kind", payload: null, options: { id } })));
}

/** Ids of tasks. */
export function idsOf(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `task-${index}`);
}

/** Data of the events with this type in the history of a task. */
export async function loggedOf(
  { admin }: RedisServer,
  id: string,
  event: string,
): Promise<readonly string[]> {
  const entries = (await admin.xrange(`sse:log:{tasks}:task_progress:${id}`, "-", "+")) as [
    string,
    string[],
  ][];
  const fields = entries.map(([, values]) => ({
    event: values[values.indexOf("e") + 1],
    data: values[values.indexOf("d") + 1]!,
  }));
  return fields.filter((each) => each.event === event).map(({ data }) => data);
}

/** All stored data, in a form that can be compared and restored. */
export async function everythingIn({ admin }: RedisServer): Promise<Readonly<Record<string, string>>> {
  const keys = (await admin.keys("*")).toSorted();
  const dumps = await Promise.all(keys.map((key) => admin.dumpBuffer(key)));
  return Object.fromEntries(keys.map((key, index) => [key, dumps[index]!.toString("base64")]));
}
