import type { Message } from "./message.js";

/** Messages that wait before the stream stops reading. The server then buffers, and its limits apply. */
const MAX_WAITING = 256;

/** The messages of one iterator. */
export class MessageQueue {
  #waiting: Message[] = [];
  #isEnded = false;
  /** Resolves the wait of the iterator. */
  #wake: (() => void) | null = null;
  #onDrained: (() => void) | null = null;

  get isFull(): boolean {
    return !this.#isEnded && this.#waiting.length >= MAX_WAITING;
  }

  add(message: Message): void {
    this.#waiting.push(message);
    this.#wake?.();
  }

  /** Ends the iterator after the waiting messages. */
  end(): void {
    this.#isEnded = true;
    this.#wake?.();
    this.#onDrained?.();
  }

  /** Resolves when no message waits. */
  drained(): Promise<void> {
    return new Promise((resolve) => (this.#onDrained = resolve));
  }

  async *messages(): AsyncGenerator<Message, void, undefined> {
    for (;;) {
      const waiting = this.#waiting;
      this.#waiting = [];
      yield* waiting;
      if (this.#waiting.length > 0) continue;
      this.#onDrained?.();
      if (this.#isEnded) return;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
