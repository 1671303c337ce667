import type { Status, Task } from "./task-model.js";

const KINDS: Readonly<Record<string, string>> = {
  report: "Report",
  import: "Import",
  resize: "Resize",
  reminder: "Reminder",
  flaky: "Flaky task",
  fail: "Failing task",
};

const STATUSES: Readonly<Record<Status, string>> = {
  queued: "Queued",
  delayed: "Delayed",
  running: "Running",
  succeeded: "Succeeded",
  failed: "Failed",
  cancelled: "Cancelled",
  unknown: "Unknown",
};

export function nameOf({ kind }: { readonly kind: string }): string {
  return KINDS[kind] ?? kind;
}

export function iconOf({ kind }: { readonly kind: string }): string {
  return kind in KINDS ? kind : "report";
}

export function statusText({ status, attempt }: Task): string {
  return status === "delayed" && attempt > 0 ? "Retrying" : STATUSES[status];
}

/** Returns a text such as "Attempt 2 of 3, again in 1 s", or an empty text. */
export function attemptText(task: Task): string {
  const { status, attempt, attempts } = task;
  const of = attempts === undefined ? "" : ` of ${attempts}`;
  if (status === "delayed") {
    return attempt > 0 ? `Attempt ${attempt + 1}${of}, again ${inTime(task)}` : `Starts ${inTime(task)}`;
  }
  if (status === "queued") return attempt > 0 ? `Attempt ${attempt + 1}${of}` : "Waiting for a worker";
  return attempt > 1 || status === "failed" ? `Attempt ${attempt}${of}` : "";
}

function inTime({ dueAt }: Task): string {
  if (dueAt === undefined) return "soon";
  const seconds = Math.ceil((dueAt - Date.now()) / 1_000);
  if (seconds <= 0) return "now";
  return seconds < 120 ? `in ${seconds} s` : `in ${Math.ceil(seconds / 60)} min`;
}
