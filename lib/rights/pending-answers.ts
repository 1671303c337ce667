import { setMaxListeners } from "node:events";

import { withDeadline } from "../deadline.js";
import type { Clock } from "../clock.js";
import type { RedisSseError } from "../errors.js";

export interface PendingAnswersOptions {
  /** The channel of the answers to this process. */
  readonly channel: string;
  readonly subscribe: (
    channel: string,
    onMessage: (text: string | null) => void,
    onFault: (fault: RedisSseError) => void,
  ) => () => void;
  readonly onFault: (fault: RedisSseError) => void;
  readonly clock: Clock;
}

/** A call that collects answers. */
export interface PendingCall {
  /** Waits for `expected` answers, at most `timeoutMs`. Returns the sum of their counts. `null`: the number of answers is unknown. */
  collect(expected: number | null, timeoutMs: number): Promise<number>;
  end(): void;
}

interface Call {
  answers: number;
  sum: number;
  onAnswer: () => void;
}

/** Collects the answers of other processes to the calls of this process. */
export class PendingAnswers {
  readonly #options: PendingAnswersOptions;
  readonly #calls = new Map<string, Call>();
  readonly #closing = new AbortController();
  #listening: Promise<void> | null = null;
  #unsubscribe: () => void = () => {};

  constructor(options: PendingAnswersOptions) {
    this.#options = options;
    // Each waiting call adds a listener.
    setMaxListeners(0, this.#closing.signal);
  }

  /** Subscribes to the answers, once. Resolves when Redis has acknowledged it, when it failed, or after `timeoutMs`. */
  async listen(timeoutMs: number): Promise<void> {
    const { clock } = this.#options;
    this.#listening ??= this.#subscribe();
    const deadline = { clock, timeoutMs, what: "the subscription to answers", signal: this.#closing.signal };
    await withDeadline(this.#listening, deadline).catch(() => {});
  }

  expect(id: string): PendingCall {
    const call: Call = { answers: 0, sum: 0, onAnswer: () => {} };
    this.#calls.set(id, call);
    return {
      collect: (expected, timeoutMs) => this.#collect(call, expected ?? Infinity, timeoutMs),
      end: () => void this.#calls.delete(id),
    };
  }

  /** Takes an answer: "call count". Ignores any other text. */
  receive(text: string | null): void {
    const [, id, count] = /^([\w-]+) (\d{1,9})$/.exec(text ?? "") ?? [];
    const call = id === undefined ? undefined : this.#calls.get(id);
    if (call === undefined) return;
    call.answers++;
    call.sum += Number(count);
    call.onAnswer();
  }

  /** Ends all waits. Each call returns the sum of its answers so far. */
  close(): void {
    this.#closing.abort();
    this.#unsubscribe();
  }

  #subscribe(): Promise<void> {
    const { channel, subscribe, onFault } = this.#options;
    return new Promise((resolve) => {
      this.#unsubscribe = subscribe(
        channel,
        (text) => {
          resolve();
          this.receive(text);
        },
        (fault) => {
          // The next call tries again.
          this.#listening = null;
          if (!this.#closing.signal.aborted) onFault(fault);
          resolve();
        },
      );
    });
  }

  async #collect(call: Call, expected: number, timeoutMs: number): Promise<number> {
    const complete = new Promise<void>((resolve) => {
      call.onAnswer = () => void (call.answers >= expected && resolve());
      call.onAnswer();
    });
    const { clock } = this.#options;
    const deadline = { clock, timeoutMs, what: "the answers", signal: this.#closing.signal };
    await withDeadline(complete, deadline).catch(() => {});
    return call.sum;
  }
}
