import type { Script } from "../../redis/script.js";
import { isStatus } from "../task.js";
import { COUNT_TASKS, LIST_TASKS, READ_TASK, WATCH_TASK } from "../lua/generated.js";
import { defineQueueScript } from "./base.js";

/** The fields of a task, and the number of events on its channel so far. */
export interface ReadReply {
  readonly seq: number;
  readonly fields: ReadonlyMap<string, string>;
}

/** Resolves to `null` if the task does not exist or cannot be read. */
export const readTask: Script<ReadReply | null> = defineQueueScript(
  "ReadTask",
  READ_TASK,
  ([seq, ...flat]): ReadReply | null => {
    const fields = new Map<string, string>();
    for (let index = 0; index + 1 < flat.length; index += 2) fields.set(flat[index]!, flat[index + 1]!);
    return fields.has("kind") && isStatus(fields.get("status")) ? { seq: Number(seq), fields } : null;
  },
);

export const watchTask: Script<boolean> = defineQueueScript(
  "WatchTask",
  WATCH_TASK,
  ([reply]) => reply === "1",
);

export interface ListEntry {
  readonly id: string;
  readonly score: string;
}

export const listTasks: Script<readonly ListEntry[]> = defineQueueScript(
  "ListTasks",
  LIST_TASKS,
  ([, ...reply]): readonly ListEntry[] => {
    const entries: ListEntry[] = [];
    for (let index = 0; index + 1 < reply.length; index += 2) {
      entries.push({ id: reply[index]!, score: reply[index + 1]! });
    }
    return entries;
  },
);

export const countTasks: Script<readonly number[]> = defineQueueScript("CountTasks", COUNT_TASKS, (reply) =>
  reply.map(Number),
);
