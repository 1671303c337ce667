import type { RedisSse } from "redis-sse";

import type { TaskView } from "./task-view.js";

/** What every page hears of, beside its user's notifications: tasks that came, were put in line again, or are gone. */
export const TASK_NEWS = "demo:tasks";

export interface TaskNews {
  started(task: TaskView): void;
  requeued(): void;
  purged(): void;
}

/** Tells all pages, over all processes. A page reads the list anew when its stream begins, so that nothing need be kept. */
export function createTaskNews(sse: RedisSse): TaskNews {
  function tell(event: string, data: object): void {
    sse.publish(TASK_NEWS, { event, data }, { history: false }).catch(() => {
      // The task is in line all the same; a page that was not told learns of it when it is loaded anew.
    });
  }
  return {
    started: (task) => tell("task", task),
    requeued: () => tell("tasks-changed", { why: "requeued" }),
    purged: () => tell("tasks-changed", { why: "purged" }),
  };
}
