import type { QueueService, RedisSse, Task, TaskStatus } from "redis-sse";

import { SHOWN_TASKS } from "./demo-queue.js";
import { BadRequest } from "./input.js";

/** A task as sent to the page. */
export interface TaskView extends Task {
  /** Sequence number of the task's latest event. The page ignores events up to this number. */
  readonly seq: number;
  /** Milliseconds until a delayed task is due. Relative, because the page's clock can differ. */
  readonly dueInMs: number | null;
}

const STATES: readonly TaskStatus[] = ["queued", "delayed", "running", "succeeded", "failed", "cancelled"];

/** Throws a 404 error if the queue has no task with this id. */
export async function viewTask(sse: RedisSse, queue: QueueService, id: string): Promise<TaskView> {
  const view = /^[\w-]{1,128}$/.test(id) ? await find(sse, queue, id) : null;
  if (view === null) throw new BadRequest(404, "UNKNOWN_TASK", "No task has this id.");
  return view;
}

/** The newest tasks of all states, newest first. */
export async function viewTasks(sse: RedisSse, queue: QueueService): Promise<readonly TaskView[]> {
  const pages = await Promise.all(STATES.map((state) => queue.list(state, { limit: SHOWN_TASKS })));
  // A task that changed its state between the queries can be in two lists.
  const known = new Map(pages.flatMap(({ tasks }) => tasks).map((task) => [task.id, task]));
  const newest = [...known.values()]
    .toSorted((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt))
    .slice(0, SHOWN_TASKS);
  const views = await Promise.all(newest.map(({ id }) => find(sse, queue, id)));
  return views.filter((view) => view !== null);
}

async function find(sse: RedisSse, queue: QueueService, id: string): Promise<TaskView | null> {
  const found = await sse.task(id);
  if (found === null || found.task.queue !== queue.name) return null;
  const { task, seq } = found;
  const dueInMs = task.runAt === null ? null : Math.max(0, Date.parse(task.runAt) - Date.now());
  return { ...task, seq, dueInMs };
}
