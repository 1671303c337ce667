import type { Script } from "../redis/script.js";
import { optionError } from "../validate.js";
import type { QueueStore } from "./queue-store.js";
import { purgeTasks, requeueTasks } from "./scripts/dead-letters.js";
import { listTasks } from "./scripts/read.js";
import { listPage, type DeadLetter, type ListOptions, type TaskPage } from "./task-list.js";
import { assertTaskId } from "./task.js";

/** Number of tasks in one call of the script. */
const BATCH = 100;

/**
 * The dead letters of a queue: failed tasks that get no further attempt.
 *
 * They are kept for `deadLetterTtlMs`, unless you requeue or purge them, or they exceed the limits of `results`.
 */
export class DeadLetters {
  readonly #store: QueueStore;

  constructor(store: QueueStore) {
    this.#store = store;
  }

  /**
   * Lists the dead letters with their errors. The dead letter that expires next comes first. Rejects like
   * `QueueService.list()`.
   */
  list(options: ListOptions = {}): Promise<TaskPage<DeadLetter>> {
    return listPage(this.#store, "failed", options);
  }

  /**
   * Enqueues dead letters again, as new tasks. Resolves to their number.
   *
   * Their channels get a new history. If another task now has the deduplication key of a dead letter, the dead letter
   * stays where it is. Rejects with `INVALID_TASK` for an invalid id, `PAYLOAD_RELEASED` if the payload of a finished
   * task was deleted, `ConfigError`, or a Redis error.
   */
  async requeue(ids: string | readonly string[]): Promise<number> {
    return this.#each(readIds(ids), requeueTasks);
  }

  /** Enqueues all dead letters again. See `requeue()`. */
  async requeueAll(): Promise<number> {
    return this.#each(await this.#all(), requeueTasks);
  }

  /** Deletes dead letters. Resolves to their number. Rejects with `INVALID_TASK`, `ConfigError` or a Redis error. */
  async purge(ids: string | readonly string[]): Promise<number> {
    return this.#each(readIds(ids), purgeTasks);
  }

  /** Deletes all dead letters. See `purge()`. */
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

  /** Reads the ids of all dead letters. They fit in memory, because `results.maxCount` limits their number. */
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
