import { ConfigError } from "../errors.js";
import type { Script } from "../redis/script.js";
import { describe } from "../validate.js";
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
   * Puts them in line again, as new: one task, some, or "all" that are there now. Their channels begin anew. Answers how
   * many there were. Rejects with `INVALID_TASK`, `ConfigError` or a fault of Redis.
   */
  requeue(ids: string | readonly string[]): Promise<number> {
    return this.#each(ids, requeueTasks);
  }

  /** Forgets them: one task, some, or "all" that are there now. Answers how many there were. Rejects as `requeue()`. */
  purge(ids: string | readonly string[]): Promise<number> {
    return this.#each(ids, purgeTasks);
  }

  async #each(ids: string | readonly string[], script: Script<readonly boolean[]>): Promise<number> {
    const chosen = ids === "all" ? await this.#all() : readIds(ids);
    let done = 0;
    for (let index = 0; index < chosen.length; index += BATCH) {
      const answers = await this.#store.run(script, chosen.slice(index, index + BATCH));
      done += answers.filter(Boolean).length;
    }
    return done;
  }

  /** Ids alone are small, and `maxResults` bounds them. */
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
    throw new ConfigError(`expected a task's id, a list of them, or "all", got ${describe(ids)}`);
  }
  for (const id of list) assertTaskId(id);
  return list as readonly string[];
}
