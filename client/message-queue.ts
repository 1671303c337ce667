import type { Message } from "./message.js";

/** Messages that wait before the stream stops reading. The server then buffers, and its limits apply. */
const MAX_WAITING = 256;

type Result = IteratorResult<Message, undefined>;

const DONE: Result = { done: true, value: undefined };

/** The messages of one iterator. */
export class MessageQueue implements AsyncIterableIterator<Message, undefined> {
  readonly #onReturn: (queue: MessageQueue) => void;
  readonly #waiting: Message[] = [];
  readonly #readers: ((result: Result) => void)[] = [];
  readonly #onDrained: (() => void)[] = [];
  #isEnded = false;

  /** `onReturn` is called when the loop ends before the stream. */
  constructor(onReturn: (queue: MessageQueue) => void) {
    this.#onReturn = onReturn;
  }

  get isFull(): boolean {
    return this.#waiting.length >= MAX_WAITING;
  }

  add(message: Message): void {
    if (this.#isEnded) return;
    const reader = this.#readers.shift();
    if (reader === undefined) this.#waiting.push(message);
    else reader({ done: false, value: message });
  }

  /** Ends the iterator after the waiting messages. */
  end(): void {
    this.#isEnded = true;
    for (const reader of this.#readers.splice(0)) reader(DONE);
    this.#drain();
  }

  /** Resolves when no message waits, or when the queue has ended. */
  drained(): Promise<void> {
    return new Promise((resolve) => this.#onDrained.push(resolve));
  }

  next(): Promise<Result> {
    const message = this.#waiting.shift();
    if (this.#waiting.length === 0) this.#drain();
    if (message !== undefined) return Promise.resolve({ done: false, value: message });
    if (this.#isEnded) return Promise.resolve(DONE);
    return new Promise((resolve) => this.#readers.push(resolve));
  }

  return(): Promise<Result> {
    this.#waiting.length = 0;
    this.end();
    this.#onReturn(this);
    return Promise.resolve(DONE);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #drain(): void {
    for (const resolve of this.#onDrained.splice(0)) resolve();
  }
}
