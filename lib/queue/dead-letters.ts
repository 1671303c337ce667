import type { Script } from "../redis/script.js";
import { optionError } from "../validate.js";
import type { QueueStore } from "./queue-store.js";
import { purgeTasks, requeueTasks } from "./scripts/dead-letters.js";
import { listTasks } from "./scripts/read.js";
import { listPage, type DeadLetter, type ListOptions, type TaskPage } from "./task-list.js";
import { assertTaskId } from "./task.js";

/** Tasks in one script. */
const BATCH = 100;

/** The tasks of a queue that have failed for good, until somebody looks after them or `deadLetterTtlMs` is over. */
export class DeadLetters {
  readonly #store: QueueStore;

  constructor(store: QueueStore) {
    this.#store = store;
  }

  /** Those that have failed, with what was thrown; the next to be forgotten first. Rejects as `QueueService.list()`. */
  list(options: ListOptions = {}): Promise<TaskPage<DeadLetter>> {
    return listPage(this.#store, "failed", options);
  }

  /**
   * Puts a task, or some, in line again, as new. Their channels begin anew. Answers how many there were; one whose key of
   * deduplication another task has by now stays where it is. Rejects with `INVALID_TASK`, `PAYLOAD_RELEASED` if a task
   * was kept without its payload, `ConfigError` or a fault of Redis.
   */
  async requeue(ids: string | readonly string[]): Promise<number> {
    return this.#each(readIds(ids), requeueTasks);
  }

  /** As `requeue()`, for all that are there now. */
  async requeueAll(): Promise<number> {
    return this.#each(await this.#all(), requeueTasks);
  }

  /** Forgets a task, or some. Answers how many there were. Rejects as `requeue()`. */
  async purge(ids: string | readonly string[]): Promise<number> {
    return this.#each(readIds(ids), purgeTasks);
  }

  /** As `purge()`, for all that are there now. */
  async purgeAll(): Promise<number> {
    return this.#each(await this.#all(), purgeTasks);
  }

  async #each(chosen: readonly string[], script: Script<readonly boolean[]>): Promise<number> {
    let done = 0;
    for (let index = 0; index < chosen.length; index += BATCH) {
      const answers = await this.#store.run(script, chosen.slice(index, index + BATCH));
      done += answers.filter(Boolean).length;
    }
    return done;
  }

  /** Ids alone are small, and `results.maxCount` bounds them. */
  async #all(): Promise<readonly string[]> {
    const ids: string[] = [];
    for (let score = "", id = ""; ;) {
      const page = await this.#store.run(listTasks, ["failed", score, id, 1_000]);
      ids.push(...page.map((entry) => entry.id));
      const last = page.at(-1);
      if (last === undefined || page.length < 1_000) return ids;
      ({ score, id } = last);
    }
  }
}

function readIds(ids: string | readonly string[]): readonly string[] {
  const list = typeof ids === "string" ? [ids] : ids;
  if (!Array.isArray(list)) {
    throw optionError("a task's id or a list of them", ids);
  }
  for (const id of list) assertTaskId(id);
  return list as readonly string[];
}
