import { byId } from "./dom.js";
import type { Task } from "./task-model.js";
import { TaskRow, type TaskActions } from "./task-row.js";
import type { TasksView } from "./tasks.js";

const TICK_MS = 250;

/** Shows the tasks. Existing rows are reused, so that progress bars move smoothly. */
export function createTaskList(actions: TaskActions): TasksView {
  const list = byId("task-list", HTMLUListElement);
  const empty = byId("tasks-empty", HTMLElement);
  const rows = new Map<string, TaskRow>();
  let ticking: ReturnType<typeof setTimeout> | undefined;

  /** Updates countdowns such as "in 3 s" while any row has one. */
  function tick(): void {
    clearTimeout(ticking);
    const waiting = [...rows.values()].filter((row) => row.tick());
    ticking = waiting.length === 0 ? undefined : setTimeout(tick, TICK_MS);
  }

  function show(newestFirst: readonly Task[]): void {
    const ids = new Set(newestFirst.map((task) => task.id));
    for (const [id, row] of rows) {
      if (ids.has(id)) continue;
      row.root.remove();
      rows.delete(id);
    }
    for (const [index, task] of newestFirst.entries()) {
      let row = rows.get(task.id);
      if (row === undefined) {
        row = new TaskRow(task, actions);
        rows.set(task.id, row);
      }
      row.show(task);
      // A moved row loses the focus, so only misplaced rows are moved.
      if (list.children[index] !== row.root) list.insertBefore(row.root, list.children[index] ?? null);
    }
    tick();
    empty.hidden = newestFirst.length > 0;
  }

  return {
    show,
    write: (id, output) => rows.get(id)?.output.write(output),
    clear: (id) => rows.get(id)?.output.clear(),
  };
}
