import { byId, setText } from "./dom.js";
import { asObject, numberAt, objectAt } from "./json.js";

const STATES = ["queued", "delayed", "running", "succeeded", "failed", "cancelled"];

/** Shows how many tasks of the queue are in which state; answers how often any has failed so far, and how many have. */
export function showCounts(data: unknown): string {
  const counts = asObject(data);
  for (const state of STATES) {
    setText(byId(`count-${state}`, HTMLElement), String(numberAt(counts, state) ?? "–"));
  }
  return `${numberAt(objectAt(counts, "totals"), "failed")} ${numberAt(counts, "failed")}`;
}
