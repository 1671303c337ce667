import { randomBytes } from "node:crypto";

import type { QueueStore } from "./queue-store.js";
import type { DueSchedule } from "./scripts/claim.js";
import { enqueueTasks, fireSchedule, type EnqueueAnswer } from "./scripts/enqueue.js";

/** A task that is to be put in line, checked. */
export interface NewTask {
  readonly id: string;
  readonly kind: string;
  /** As JSON. */
  readonly payload: string;
  readonly extra: string;
}

interface Waiting {
  readonly task: NewTask;
  readonly resolve: (answer: EnqueueAnswer) => void;
  readonly reject: (fault: unknown) => void;
}

/** In one script, so that a burst of tasks does not hold the server for long. */
const MAX_TASKS = 100;
const MAX_LENGTH = 1024 * 1024;

/** Puts tasks in line: those of one turn of the loop go out together, each for itself. */
export class EnqueueBatcher {
  readonly #store: QueueStore;
  readonly #caller = randomBytes(6).toString("base64url");
  #calls = 0;
  #waiting: Waiting[] = [];
  #length = 0;

  constructor(store: QueueStore) {
    this.#store = store;
  }

  /** Rejects with a fault of Redis. */
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

  /** All of them or none: the id that is taken already is answered then. */
  async addAll(tasks: readonly NewTask[]): Promise<readonly EnqueueAnswer[] | { readonly taken: string }> {
    return this.#store.run(enqueueTasks, this.#arguments("1", tasks));
  }

  /** Moves a schedule on to its `next` time, and puts its task in line; `null` where somebody else has done so. */
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
