import type { RedisSse } from "redis-sse";

import type { TaskView } from "./task-view.js";

/** Channel of all pages, for tasks that are new, requeued or purged. */
export const TASK_NEWS = "demo:tasks";

export interface TaskNews {
  started(task: TaskView): void;
  requeued(): void;
  purged(): void;
}

/** Publishes task changes to the pages of all processes. A page loads the task list when it connects, so no history is kept. */
export function createTaskNews(sse: RedisSse): TaskNews {
  function publish(event: string, data: object): void {
    sse.publish(TASK_NEWS, { event, data }, { history: false }).catch(() => {
      // The task is queued even if this event is lost. A page sees the task after a reload.
    });
  }
  return {
    started: (task) => publish("task", task),
    requeued: () => publish("tasks-changed", { why: "requeued" }),
    purged: () => publish("tasks-changed", { why: "purged" }),
  };
}
