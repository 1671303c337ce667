import { RedisSseError } from "../errors.js";
import { assertOptions, optionError, readWholeNumber } from "../validate.js";
import type { QueueStore } from "./queue-store.js";
import { listTasks, readTask, type ListEntry } from "./scripts/read.js";
import { isFinished, parseTask, toIso, type Task, type TaskStatus } from "./task.js";

/** Options for listing tasks. */
export interface ListOptions {
  /**
   * `next` of the previous page.
   *
   * @defaultValue the first page
   */
  readonly cursor?: string | null | undefined;
  /**
   * Number of tasks in a page, from 1 to 1,000.
   *
   * @defaultValue 100
   */
  readonly limit?: number;
}

/** One page of tasks. */
export interface TaskPage<Item = Task> {
  /** The tasks of this page. */
  readonly tasks: readonly Item[];
  /** The `cursor` of the next page. `null` on the last page. */
  readonly next: string | null;
}

/** A failed task that gets no further attempt. */
export interface DeadLetter extends Task {
  /**
   * The errors of the last three attempts, newest first. `null` if no error was stored.
   *
   * Show them only to operators: they can contain hosts and credentials.
   */
  readonly error: string | null;
}

/** A task whose stored data another program damaged or deleted. */
export interface UnreadableTask {
  /**
   * Id of the task. Characters other than A-Z a-z 0-9 _ - are written as %XX.
   *
   * An id of more than 200 bytes is cut, and ends with "...".
   */
  readonly id: string;
  /** When the queue set the task aside, in ISO 8601. */
  readonly setAsideAt: string;
}

/** Options of `QueueService.clean()`. */
export interface CleanOptions {
  /** Which finished tasks to delete. */
  readonly state: "succeeded" | "failed" | "cancelled";
  /**
   * Minimum time since the end of a task, in milliseconds.
   *
   * @defaultValue 0
   */
  readonly olderThanMs?: number;
  /**
   * Maximum number of tasks to delete.
   *
   * @defaultValue 1_000
   */
  readonly limit?: number;
}

/** Checks the options of `clean()`. Throws `ConfigError`. */
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

/** The sorted set that holds the tasks of each state. */
const SETS: Readonly<Record<TaskStatus, string>> = {
  queued: "ready",
  delayed: "delayed",
  running: "leases",
  succeeded: "succeeded",
  failed: "failed",
  cancelled: "cancelled",
};

/**
 * Lists a page of the tasks in one state.
 *
 * Queued tasks are in the order in which workers take them, and delayed tasks in the order of their due times. Running
 * tasks are in the order in which their leases expire, and finished tasks in the order in which they are deleted.
 * Rejects with `INVALID_TASK`, `ConfigError` or a Redis error.
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
    // The task has changed its state since the page was read, or a new task has the id, maybe in another queue.
    if (fields.get("queue") !== store.name || fields.get("status") !== state) return [];
    return [{ ...parseTask(entries[index]!.id, fields), error: fields.get("error") || null }];
  });
  return { tasks, next };
}

/** Lists a page of the unreadable tasks, the oldest first. Rejects like `listPage()`. */
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
    // The id can be any text, because another program may have written it into the set.
    if (match !== null) return { score: match[1]!, id: decodeURIComponent(match[2]!) };
  } catch {
    // A wrong escape sequence is an invalid cursor too.
  }
  throw new RedisSseError("INVALID_TASK", "Invalid cursor. Pass `next` of the previous page.");
}
