import { ConfigError, RedisSseError } from "../errors.js";
import { assertKnown, assertObject, describe, readWholeNumber } from "../validate.js";
import type { QueueStore } from "./queue-store.js";
import { listTasks, readTask } from "./scripts/read.js";
import { assertTaskId, parseTask, type Task, type TaskStatus } from "./task.js";

export interface ListOptions {
  /** Where to go on: `next` of the page before. Default: the beginning. */
  readonly cursor?: string | null | undefined;
  /** Tasks of a page, at most 1,000. Default 100. */
  readonly limit?: number;
}

export interface TaskPage<Item = Task> {
  readonly tasks: readonly Item[];
  /** Where the next page begins; `null` at the end. */
  readonly next: string | null;
}

/** A task that has failed for good. */
export interface DeadLetter extends Task {
  /** What the last attempt threw, name and message: for operators, since it may name hosts and credentials. */
  readonly error: string | null;
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
    throw new ConfigError(`expected state as ${Object.keys(SETS).join(", ")}, got ${describe(state)}`);
  }
  assertObject("list()", options);
  assertKnown("list()", options, new Set(["cursor", "limit"]));
  const { cursor, limit = 100 } = options;
  readWholeNumber("limit", limit, 1, 1_000);
  const { score, id } = readCursor(cursor);
  const entries = await store.run(listTasks, [set, score, id, limit]);
  const replies = await Promise.all(entries.map((entry) => store.run(readTask, [entry.id])));
  const tasks = replies.flatMap((reply, index) => {
    if (reply === null) return [];
    const { fields } = reply;
    // It has moved on since, or its id is another task's by now, maybe of another queue.
    if (fields.get("queue") !== store.name || fields.get("status") !== state) return [];
    return [{ ...parseTask(entries[index]!.id, fields), error: fields.get("error") || null }];
  });
  const last = entries.at(-1);
  return { tasks, next: last === undefined || entries.length < limit ? null : `${last.score}.${last.id}` };
}

function readCursor(cursor: string | null | undefined): { score: string; id: string } {
  if (cursor === undefined || cursor === null) return { score: "", id: "" };
  const match = typeof cursor === "string" ? /^(-?\d{1,17})\.([\w-]{1,128})$/.exec(cursor) : null;
  if (match === null) throw new RedisSseError("INVALID_TASK", "expected cursor as `next` of the page before");
  const [, score = "", id = ""] = match;
  assertTaskId(id);
  return { score, id };
}
