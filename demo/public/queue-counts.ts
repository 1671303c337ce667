import { byId, setText } from "./dom.js";
import { asObject, numberAt, objectAt } from "./json.js";

const STATES = ["queued", "delayed", "running", "succeeded", "failed", "cancelled"];

/** Shows the number of tasks per state. Returns a text that changes if the number of failures or dead letters changes. */
export function showCounts(data: unknown): string {
  const counts = asObject(data);
  for (const state of STATES) {
    setText(byId(`count-${state}`, HTMLElement), String(numberAt(counts, state) ?? "–"));
  }
  return `${numberAt(objectAt(counts, "totals"), "failed")} ${numberAt(counts, "failed")}`;
}
