import { monotonicNow, type Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import type { HttpAnswer } from "./answer.js";
import { streamHead } from "./answer.js";
import type { Sink } from "./sink.js";

/** How the sink took a frame: `blocked` took it too, but wants no more before it has drained. */
export type WriteResult = "taken" | "blocked" | "failed";

export interface StreamOutputHandlers {
  onDrain(): void;
  onClose(failed: boolean): void;
}

/** The writing end of a session: counts what went out, never throws, and ends within a deadline. */
export class StreamOutput {
  readonly #sink: Sink;
  readonly #clock: Clock;
  readonly #handlers: StreamOutputHandlers;
  readonly #gone: Promise<void>;
  #onGone!: () => void;
  #detach: () => void = () => {};
  #started = false;
  #bytesSent = 0;
  #lastWriteAt: number;

  constructor(sink: Sink, clock: Clock, handlers: StreamOutputHandlers) {
    this.#sink = sink;
    this.#clock = clock;
    this.#lastWriteAt = monotonicNow(clock);
    this.#handlers = handlers;
    this.#gone = new Promise((resolve) => {
      this.#onGone = resolve;
    });
  }

  /** Begins to listen to the sink, which may answer at once that its client is gone. */
  attach(): void {
    this.#detach = this.#sink.attach({
      onDrain: () => this.#handlers.onDrain(),
      onClose: (failed) => {
        this.#onGone();
        this.#handlers.onClose(failed);
      },
    });
  }

  get closed(): boolean {
    return this.#sink.closed;
  }

  /** Whether the stream has begun: from then on a fault is told as an event, before as an answer. */
  get started(): boolean {
    return this.#started;
  }

  get bytesSent(): number {
    return this.#bytesSent;
  }

  /** As `monotonicNow()`. */
  get lastWriteAt(): number {
    return this.#lastWriteAt;
  }

  /** Begins the event stream with its first frames. */
  start(frame: Buffer): WriteResult {
    try {
      this.#sink.start(streamHead);
    } catch {
      return "failed";
    }
    this.#started = true;
    return this.write(frame);
  }

  write(frame: Buffer): WriteResult {
    let taken: boolean;
    try {
      taken = this.#sink.write(frame);
    } catch {
      return "failed";
    }
    this.#bytesSent += frame.length;
    this.#lastWriteAt = monotonicNow(this.#clock);
    return taken ? "taken" : "blocked";
  }

  /** Answers in place of a stream. */
  answer(answer: HttpAnswer): void {
    if (this.#sink.closed) return;
    try {
      this.#sink.answer(answer);
    } catch {
      this.#sink.destroy();
    }
  }

  /** Ends the response; a client that has not read the rest by the deadline is dropped. Never rejects. */
  async end(timeoutMs: number): Promise<void> {
    try {
      if (this.#sink.closed) return;
      this.#sink.end();
      await withDeadline(this.#gone, {
        clock: this.#clock,
        timeoutMs,
        what: "the client to read the last bytes",
      });
    } catch {
      this.#sink.destroy();
    }
  }

  destroy(): void {
    this.#sink.destroy();
  }

  /** Takes the listeners away. */
  detach(): void {
    this.#detach();
  }
}
