import { messageOf } from "./api.js";
import { byId, field, showResult } from "./dom.js";
import { checkFields } from "./fields.js";
import type { NewTask, Tasks } from "./tasks.js";

const THREE = ["report", "import", "resize"];
const NUMBERS = ["steps", "stepMs", "delayMs", "attempts"] as const;
const REMINDER_DELAY_MS = "5000";

export function createTaskForm(tasks: Tasks): void {
  const form = byId("task-form", HTMLFormElement);
  const kind = byId("task-kind", HTMLSelectElement);
  const delay = byId("task-delay-ms", HTMLInputElement);
  const three = byId("start-three", HTMLButtonElement);
  const result = byId("task-result", HTMLElement);

  /** Empty fields are not sent. The server then uses its defaults. */
  function newTask(kind: string): NewTask {
    const given = NUMBERS.map((name) => [name, field(form, name)] as const).filter(([, text]) => text !== "");
    return { kind, ...Object.fromEntries(given.map(([name, text]) => [name, Number(text)])) };
  }

  async function start(kinds: readonly string[]): Promise<void> {
    showResult(result, "ok", "");
    if (!checkFields(form)) return;
    const starts = await Promise.allSettled(kinds.map((kind) => tasks.start(newTask(kind))));
    const failed = starts.find((each) => each.status === "rejected");
    if (failed !== undefined) showResult(result, "error", messageOf(failed.reason));
    else showResult(result, "ok", kinds.length === 1 ? "Started." : `Started ${kinds.length} tasks.`);
  }

  // Suggests a delay for reminders. A delay entered by the user stays.
  kind.addEventListener("change", () => {
    if (kind.value === "reminder" && delay.value === "0") delay.value = REMINDER_DELAY_MS;
    else if (kind.value !== "reminder" && delay.value === REMINDER_DELAY_MS) delay.value = "0";
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void start([field(form, "kind")]);
  });
  three.addEventListener("click", () => void start(THREE));
}
