import { messageOf } from "./api.js";
import { byId, field, showResult } from "./dom.js";
import type { Tasks } from "./tasks.js";

const THREE = ["report", "import", "resize"];

/** An empty field leaves the choice to the server. */
function optionalNumber(text: string): number | undefined {
  return text === "" ? undefined : Number(text);
}

export function createTaskForm(tasks: Tasks): void {
  const form = byId("task-form", HTMLFormElement);
  const three = byId("start-three", HTMLButtonElement);
  const result = byId("task-result", HTMLElement);

  async function start(kinds: readonly string[]): Promise<void> {
    const steps = optionalNumber(field(form, "steps"));
    const stepMs = optionalNumber(field(form, "stepMs"));
    const starts = await Promise.allSettled(kinds.map((kind) => tasks.start(kind, steps, stepMs)));
    const failed = starts.find((each) => each.status === "rejected");
    if (failed !== undefined) showResult(result, "error", messageOf(failed.reason));
    else showResult(result, "ok", kinds.length === 1 ? "Started." : `Started ${kinds.length} tasks.`);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void start([field(form, "kind")]);
  });
  three.addEventListener("click", () => void start(THREE));
}
