import { byId, el, icon, setText, userText } from "./dom.js";
import { OutputPane } from "./output-pane.js";
import { isFinal, type Task } from "./task-model.js";
import { attemptText, iconOf, nameOf, statusText } from "./task-names.js";

export interface TaskActions {
  readonly cancel: (id: string) => Promise<void>;
  readonly replayOutput: (id: string) => void;
}

/** One task: its state, progress bar, output and cancel button. */
export class TaskRow {
  readonly root: HTMLLIElement;
  readonly output: OutputPane;
  readonly #chip = el("span", { class: "chip", "data-testid": "task-status" });
  readonly #bar = el("div", {
    class: "bar",
    role: "progressbar",
    "aria-valuemin": "0",
    "aria-valuemax": "100",
  });
  readonly #message = el("bdi", { class: "task-message", "data-testid": "task-message" });
  readonly #attempt = el("span", { class: "task-attempt", "data-testid": "task-attempt" });
  readonly #percent = el("span", { class: "task-percent number" });
  readonly #cancel: HTMLButtonElement;
  #task: Task;
  #announced: boolean;
  #cancelling = false;

  constructor(task: Task, actions: TaskActions) {
    const name = nameOf(task);
    const id = task.id.slice(0, 8);
    this.#task = task;
    // Tasks that were already finished, for example after a reload, are not announced.
    this.#announced = isFinal(task.status);
    this.output = new OutputPane(`${name} ${id}`, () => actions.replayOutput(task.id));
    this.#cancel = el(
      "button",
      { type: "button", class: "button small", "aria-label": `Cancel ${name} ${id}` },
      "Cancel",
    );
    this.#cancel.addEventListener("click", () => void this.#onCancel(actions));
    this.#bar.setAttribute("aria-label", `${name} ${id}, progress`);
    this.#bar.append(el("div", { class: "bar-fill" }));
    this.root = el(
      "li",
      { class: "task", "data-testid": "task", "data-task-id": task.id },
      el("span", { class: "task-icon" }, icon(iconOf(task))),
      el(
        "div",
        { class: "task-main" },
        el(
          "div",
          { class: "task-head" },
          el("p", { class: "task-name" }, userText(name)),
          el("code", { class: "task-id", title: task.id }, id),
          this.#chip,
          this.#cancel,
        ),
        this.#bar,
        el("div", { class: "task-foot" }, this.#message, this.#attempt, this.#percent),
        this.output.root,
      ),
    );
  }

  show(task: Task): void {
    this.#task = task;
    const percent = Math.round(task.progress);
    const over = isFinal(task.status);
    this.root.dataset["status"] = task.status;
    this.root.dataset["progress"] = String(task.progress);
    this.root.dataset["attempt"] = String(task.attempt);
    setText(this.#chip, statusText(task));
    setText(this.#message, task.message);
    setText(this.#percent, `${percent}%`);
    this.tick();
    this.#bar.setAttribute("aria-valuenow", String(percent));
    // The CSP forbids style attributes; the style object is allowed.
    this.#bar.style.setProperty("--progress", String(task.progress / 100));
    if (over) this.#hideCancel();
    else this.#cancel.hidden = false;
    if (task.status === "running") this.output.unfold();
    if (over) this.#announce();
    else this.#announced = false;
  }

  /** Updates the countdown. Returns true if the task still waits. */
  tick(): boolean {
    setText(this.#attempt, attemptText(this.#task));
    return this.#task.status === "delayed" && (this.#task.dueAt ?? 0) > Date.now();
  }

  async #onCancel(actions: TaskActions): Promise<void> {
    if (this.#cancelling) return;
    // A disabled button would lose the focus.
    this.#cancelling = true;
    await actions.cancel(this.#task.id);
    this.#cancelling = false;
  }

  #hideCancel(): void {
    // A hidden button loses the focus, so move it first.
    if (document.activeElement === this.#cancel) this.output.summary.focus();
    this.#cancel.hidden = true;
  }

  /** Announces only the end of a task to screen readers. Announcing each step would be noise. */
  #announce(): void {
    if (this.#announced) return;
    this.#announced = true;
    const { message } = this.#task;
    byId("task-news", HTMLElement).textContent =
      `${nameOf(this.#task)}: ${statusText(this.#task)}. ${message}`;
  }
}
