import type { Message, Status } from "../client/index.js";
import type { StreamReducer } from "./follow-stream.js";
import { CONNECTING, WITHOUT_URL } from "./stream-options.js";

/** The state of a task. A `delayed` task is not due yet, or waits for its next attempt. */
export type TaskStatus = "queued" | "delayed" | "running" | "succeeded" | "failed" | "cancelled";

/** What the events of a task tell. */
export interface TaskState {
  readonly status: TaskStatus | null;
  readonly progress: number;
  readonly message: string;
  readonly output: string;
  readonly error: string | null;
  readonly connection: Status;
  /** The highest number of a progress event. */
  readonly seq: number;
}

const EMPTY: TaskState = {
  status: null,
  progress: 0,
  message: "",
  output: "",
  error: null,
  connection: CONNECTING,
  seq: 0,
};

export const taskReducer: StreamReducer<TaskState> = {
  initial: EMPTY,
  withoutUrl: { ...EMPTY, connection: WITHOUT_URL },
  events: {
    message: progressed,
    chunk: (state, { text }) => ({ ...state, output: state.output + text }),
  },
  onStatus(state, connection) {
    const isRefused = connection.state === "closed" && connection.reason !== "completed";
    return { ...state, connection, error: state.error ?? (isRefused ? connection.reason : null) };
  },
  onLoss: (state, reason) => ({ ...state, output: "", error: reason }),
};

function progressed(state: TaskState, { data }: Message): TaskState {
  const told = readProgress(data);
  if (told === null) return state;
  const { type, seq, status, progress, message } = told;
  // A new attempt sends its output from the beginning, also if its other events are known.
  const base = type === "started" && state.output !== "" ? { ...state, output: "" } : state;
  const isKnown = seq !== 0 && seq <= state.seq;
  if (isKnown || (hasEnded(state.status) && !hasEnded(status))) return base;
  return { ...base, status, progress, message, seq, error: status === "failed" ? message : base.error };
}

/** Applies the answer to a request to cancel the task. */
export function answered(state: TaskState, { status, error }: CancelAnswer): TaskState {
  if (status === null) return { ...state, error };
  return hasEnded(state.status) ? state : { ...state, status, error: null };
}

/** The state of a task after a request to cancel it, or why the request failed. */
export type CancelAnswer =
  { readonly status: TaskStatus; readonly error: null } | { readonly status: null; readonly error: string };

/** Returns `null` for data of another publisher on this channel. */
function readProgress(data: unknown): {
  readonly type: unknown;
  readonly seq: number;
  readonly status: TaskStatus;
  readonly progress: number;
  readonly message: string;
} | null {
  if (typeof data !== "object" || data === null) return null;
  const { type, seq, status, progress, message } = data as Record<string, unknown>;
  if (typeof seq !== "number" || typeof progress !== "number" || typeof message !== "string") return null;
  return isTaskStatus(status) ? { type, seq, status, progress, message } : null;
}

const ENDED: ReadonlySet<unknown> = new Set<TaskStatus>(["succeeded", "failed", "cancelled"]);
const UNFINISHED: ReadonlySet<unknown> = new Set<TaskStatus>(["queued", "delayed", "running"]);

export function isTaskStatus(status: unknown): status is TaskStatus {
  return ENDED.has(status) || UNFINISHED.has(status);
}

function hasEnded(status: TaskStatus | null): boolean {
  return ENDED.has(status);
}
