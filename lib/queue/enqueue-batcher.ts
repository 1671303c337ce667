import { randomBytes } from "node:crypto";

import type { QueueStore } from "./queue-store.js";
import type { DueSchedule } from "./scripts/claim.js";
import { enqueueTasks, fireSchedule, type EnqueueAnswer } from "./scripts/enqueue.js";

/** A checked task, ready to be enqueued. */
export interface NewTask {
  readonly id: string;
  readonly kind: string;
  /** As JSON. */
  readonly payload: string;
  /** The options, as `includes/enter.lua` reads them. */
  readonly extra: string;
}

interface Waiting {
  readonly task: NewTask;
  readonly resolve: (answer: EnqueueAnswer) => void;
  readonly reject: (fault: unknown) => void;
}

/** Limits for one call of the script. Redis runs no other command while a script runs. */
const MAX_TASKS = 100;
const MAX_LENGTH = 1024 * 1024;

/**
 * Enqueues tasks. The tasks of one event-loop turn share a call of the script. Each task succeeds or fails by itself.
 */
export class EnqueueBatcher {
  readonly #store: QueueStore;
  readonly #caller = randomBytes(6).toString("base64url");
  #calls = 0;
  #waiting: Waiting[] = [];
  #length = 0;

  constructor(store: QueueStore) {
    this.#store = store;
  }

  /** Enqueues a task. Rejects with a Redis error. */
  add(task: NewTask): Promise<EnqueueAnswer> {
    return new Promise((resolve, reject) => {
      const length = task.payload.length + task.extra.length;
      if (this.#length + length > MAX_LENGTH) this.#send();
      if (this.#waiting.length === 0) process.nextTick(() => this.#send());
      this.#waiting.push({ task, resolve, reject });
      this.#length += length;
      if (this.#waiting.length === MAX_TASKS) this.#send();
    });
  }

  /**
   * Enqueues all of the tasks or none of them. If a task with one of the ids exists, it resolves to that id (`taken`).
   */
  async addAll(tasks: readonly NewTask[]): Promise<readonly EnqueueAnswer[] | { readonly taken: string }> {
    return this.#store.run(enqueueTasks, this.#arguments("1", tasks));
  }

  /**
   * Advances a schedule to its `next` time and enqueues its task. Resolves to `null` if another process has done so.
   */
  fire(
    { name, due, content }: DueSchedule,
    next: number | null,
    { id, kind, payload, extra }: NewTask,
  ): Promise<EnqueueAnswer | null> {
    const call = `${this.#caller}${++this.#calls}:`;
    return this.#store.run(fireSchedule, [
      "",
      call,
      name,
      due,
      next ?? "",
      content,
      id,
      kind,
      payload,
      extra,
    ]);
  }

  #send(): void {
    const waiting = this.#waiting;
    if (waiting.length === 0) return;
    this.#waiting = [];
    this.#length = 0;
    const args = this.#arguments(
      "",
      waiting.map(({ task }) => task),
    );
    this.#store.run(enqueueTasks, args).then(
      (answers) => {
        const each = answers as readonly EnqueueAnswer[];
        waiting.forEach(({ resolve }, index) => resolve(each[index]!));
      },
      (error: unknown) => waiting.forEach(({ reject }) => reject(error)),
    );
  }

  #arguments(whole: string, tasks: readonly NewTask[]): string[] {
    const args = [whole, `${this.#caller}${++this.#calls}:`];
    for (const { id, kind, payload, extra } of tasks) args.push(id, kind, payload, extra);
    return args;
  }
}
