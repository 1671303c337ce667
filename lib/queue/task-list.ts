import { RedisSseError } from "../errors.js";
import { assertOptions, optionError, readWholeNumber } from "../validate.js";
import type { QueueStore } from "./queue-store.js";
import { listTasks, readTask, type ListEntry } from "./scripts/read.js";
import { isFinished, parseTask, toIso, type Task, type TaskStatus } from "./task.js";

/** Options for listing tasks. */
export interface ListOptions {
  /** Where to go on: `next` of the page before. Default: the beginning. */
  readonly cursor?: string | null | undefined;
  /** Tasks of a page, at most 1,000. Default 100. */
  readonly limit?: number;
}

/** One page of tasks. */
export interface TaskPage<Item = Task> {
  /** The tasks of this page. */
  readonly tasks: readonly Item[];
  /** Where the next page begins; `null` at the end. */
  readonly next: string | null;
}

/** A task that has failed for good. */
export interface DeadLetter extends Task {
  /** The errors of the last three attempts, newest first. Only for operators: they may name hosts and credentials. */
  readonly error: string | null;
}

/** A task that cannot be read: another program has broken or removed what Redis stores of it. */
export interface UnreadableTask {
  /** Characters other than A-Z a-z 0-9 _ - are written as %XX; an id of more than 200 characters is cut and ends in "...". */
  readonly id: string;
  /** When the queue set it aside. ISO 8601. */
  readonly setAsideAt: string;
}

/** Options of `QueueService.clean()`. */
export interface CleanOptions {
  /** Which finished tasks to delete. */
  readonly state: "succeeded" | "failed" | "cancelled";
  /** Only tasks that ended at least so long ago. Defaults to 0. */
  readonly olderThanMs?: number;
  /** Most tasks to forget. Defaults to 1,000. */
  readonly limit?: number;
}

/** Throws `ConfigError`. */
export function readCleanOptions(options: CleanOptions): Required<CleanOptions> {
  assertOptions("clean()", options, new Set(["state", "olderThanMs", "limit"]));
  const { state, olderThanMs = 0, limit = 1_000 } = options;
  if (!isFinished(state)) {
    throw optionError("state as succeeded, failed or cancelled", state);
  }
  readWholeNumber("olderThanMs", olderThanMs, 0);
  readWholeNumber("limit", limit, 1);
  return { state, olderThanMs, limit };
}

/** The set that holds the tasks of a state. */
const SETS: Readonly<Record<TaskStatus, string>> = {
  queued: "ready",
  delayed: "delayed",
  running: "leases",
  succeeded: "succeeded",
  failed: "failed",
  cancelled: "cancelled",
};

/**
 * A page of the tasks in one state: those in line as they will be taken, those that are over by when they are forgotten.
 * Rejects with `ConfigError` or a fault of Redis.
 */
export async function listPage(
  store: QueueStore,
  state: TaskStatus,
  options: ListOptions,
): Promise<TaskPage<DeadLetter>> {
  const set = Object.hasOwn(SETS, state) ? SETS[state] : undefined;
  if (set === undefined) {
    throw optionError(`state as ${Object.keys(SETS).join(", ")}`, state);
  }
  const { entries, next } = await readPage(store, set, options);
  const replies = await Promise.all(entries.map((entry) => store.run(readTask, [entry.id])));
  const tasks = replies.flatMap((reply, index) => {
    if (reply === null) return [];
    const { fields } = reply;
    // It has moved on since, or its id is another task's by now, maybe of another queue.
    if (fields.get("queue") !== store.name || fields.get("status") !== state) return [];
    return [{ ...parseTask(entries[index]!.id, fields), error: fields.get("error") || null }];
  });
  return { tasks, next };
}

/** A page of the tasks that cannot be read, the oldest first. Rejects with `ConfigError` or a fault of Redis. */
export async function listUnreadable(
  store: QueueStore,
  options: ListOptions,
): Promise<TaskPage<UnreadableTask>> {
  const { entries, next } = await readPage(store, "unreadable", options);
  return { tasks: entries.map(({ id, score }) => ({ id, setAsideAt: toIso(score) ?? "" })), next };
}

async function readPage(
  store: QueueStore,
  set: string,
  options: ListOptions,
): Promise<{ entries: readonly ListEntry[]; next: string | null }> {
  assertOptions("list()", options, new Set(["cursor", "limit"]));
  const { cursor, limit = 100 } = options;
  readWholeNumber("limit", limit, 1, 1_000);
  const { score, id } = readCursor(cursor);
  const entries = await store.run(listTasks, [set, score, id, limit]);
  const last = entries.at(-1);
  const isLast = last === undefined || entries.length < limit;
  return { entries, next: isLast ? null : `${last.score}.${encodeURIComponent(last.id)}` };
}

function readCursor(cursor: string | null | undefined): { score: string; id: string } {
  if (cursor === undefined || cursor === null) return { score: "", id: "" };
  const match = typeof cursor === "string" ? /^(-?(?:\d{1,19}|inf))\.([\w.!~*'()%-]+)$/.exec(cursor) : null;
  try {
    // Another program can have put any text into a set.
    if (match !== null) return { score: match[1]!, id: decodeURIComponent(match[2]!) };
  } catch {
    // Not a cursor of ours.
  }
  throw new RedisSseError("INVALID_TASK", "expected cursor as `next` of the page before");
}
