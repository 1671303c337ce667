import { byId, el, icon, setText } from "./dom.js";
import { isFinal, type Status, type Task } from "./tasks.js";

const KINDS: Readonly<Record<string, string>> = {
  report: "Report",
  import: "Import",
  resize: "Resize",
  fail: "A task that fails",
};

const STATUS_TEXT: Readonly<Record<Status, string>> = {
  queued: "Queued",
  running: "Running",
  succeeded: "Succeeded",
  failed: "Failed",
  unknown: "Unknown",
};

function nameOf(task: Task): string {
  return KINDS[task.kind] ?? task.kind;
}

class TaskRow {
  readonly root: HTMLLIElement;
  readonly #chip = el("span", { class: "chip" });
  readonly #bar = el("div", {
    class: "bar",
    role: "progressbar",
    "aria-valuemin": "0",
    "aria-valuemax": "100",
  });
  readonly #message = el("span", { class: "task-message" });
  readonly #percent = el("span", { class: "task-percent" });
  #announced: boolean;

  constructor(task: Task) {
    // What had ended before the row was made (after a reload) is no news.
    this.#announced = isFinal(task.status);
    this.#bar.setAttribute("aria-label", `${nameOf(task)}, progress`);
    this.#bar.append(el("div", { class: "bar-fill" }));
    this.root = el(
      "li",
      { class: "task", "data-testid": "task", "data-task-id": task.id },
      el("span", { class: "task-icon" }, icon(task.kind in KINDS ? task.kind : "report")),
      el(
        "div",
        { class: "task-main" },
        el(
          "div",
          { class: "task-head" },
          el("p", { class: "task-name" }, nameOf(task)),
          el("code", { class: "task-id", title: task.id }, task.id.slice(0, 8)),
          this.#chip,
        ),
        this.#bar,
        el("div", { class: "task-foot" }, this.#message, this.#percent),
      ),
    );
  }

  show(task: Task): void {
    const percent = Math.round(task.progress);
    this.root.dataset["status"] = task.status;
    this.root.dataset["progress"] = String(task.progress);
    setText(this.#chip, STATUS_TEXT[task.status]);
    setText(this.#message, task.message || (task.status === "queued" ? "Waiting for a worker" : ""));
    setText(this.#percent, `${percent}%`);
    this.#bar.setAttribute("aria-valuenow", String(percent));
    // The CSP forbids style attributes; the style object is allowed.
    this.#bar.style.setProperty("--progress", String(task.progress / 100));

    if (!this.#announced && isFinal(task.status)) {
      this.#announced = true;
      // Each step read out would be noise, so only the end is announced.
      byId("task-news", HTMLElement).textContent =
        `${nameOf(task)}: ${STATUS_TEXT[task.status]}. ${task.message}`;
    }
  }
}

/** A function that shows the tasks. It keeps the rows it has, so that bars move instead of jumping. */
export function createTaskList(): (newestFirst: readonly Task[]) => void {
  const list = byId("task-list", HTMLUListElement);
  const empty = byId("tasks-empty", HTMLElement);
  const summary = byId("tasks-summary", HTMLElement);
  const rows = new Map<string, TaskRow>();

  return (newestFirst) => {
    const ids = new Set(newestFirst.map((task) => task.id));
    for (const [id, row] of rows) {
      if (!ids.has(id)) {
        row.root.remove();
        rows.delete(id);
      }
    }
    // From the oldest on, each new row goes to the top; present rows are not moved.
    for (const task of newestFirst.toReversed()) {
      let row = rows.get(task.id);
      if (row === undefined) {
        row = new TaskRow(task);
        rows.set(task.id, row);
        list.prepend(row.root);
      }
      row.show(task);
    }

    const open = newestFirst.filter((task) => !isFinal(task.status)).length;
    empty.hidden = newestFirst.length > 0;
    setText(summary, newestFirst.length === 0 ? "" : open === 0 ? "All done" : `${open} in progress`);
  };
}
