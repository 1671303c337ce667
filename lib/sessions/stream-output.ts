import type { Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import { createLog } from "../log.js";
import { type HttpAnswer, streamHead } from "../sse/http-answer.js";
import { joinBlocks, type EncodedFrames } from "../sse/frame.js";
import { describeThrown } from "../thrown.js";
import type { Sink, SinkListener } from "./sink.js";
import type { SinkConnection } from "../peers/dead-peer-detector.js";

const log = createLog("session");

/** How the sink took a block: `blocked` took it too, but wants no more before it has drained. */
export type WriteResult = "taken" | "blocked" | "failed";

/** Gathered, for a write that is still to come. */
export type Corked = "corked";

/** The writing end of a session: counts what went out, never throws, and ends within a deadline. */
export class StreamOutput implements SinkListener {
  readonly #sink: Sink;
  readonly #clock: Clock;
  readonly #listener: SinkListener;
  /** Set while somebody waits for the response to be over. */
  #onGone: (() => void) | null = null;
  #detach: (() => void) | null = null;
  #corks = 0;
  /** What was written since `cork()`. */
  #corked: EncodedFrames[] | null = null;
  #corkedLength = 0;
  #started = false;
  #destroyed = false;
  #bytesSent = 0;
  #hasWritten = false;

  constructor(sink: Sink, clock: Clock, listener: SinkListener) {
    this.#sink = sink;
    this.#clock = clock;
    this.#listener = listener;
  }

  /** Begins to listen to the sink, which may answer at once that its client is gone. */
  /** Returns false if the sink threw. */
  attach(): boolean {
    try {
      this.#detach = this.#sink.attach(this);
      return true;
    } catch (error) {
      log("attach() of the sink threw: %s", describeThrown(error));
      return false;
    }
  }

  onDrain(): void {
    this.#listener.onDrain();
  }

  onClose(failed: boolean): void {
    this.#onGone?.();
    this.#listener.onClose(failed);
  }

  /** As `Sink.connection`. */
  get connection(): SinkConnection | null | undefined {
    return this.#sink.connection;
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

  /** How much is gathered, in UTF-16 units. */
  get corkedLength(): number {
    return this.#corkedLength;
  }

  /** Whether the system has taken all that was written. */
  get isClear(): boolean {
    return (this.#sink.pendingBytes ?? 0) === 0;
  }

  /** Whether anything was written since this was asked last: by that a heartbeat is due, and no write looks at a clock. */
  takeActivity(): boolean {
    const hasWritten = this.#hasWritten;
    this.#hasWritten = false;
    return hasWritten;
  }

  /** Begins the event stream with its first frames. */
  start(block: EncodedFrames): WriteResult {
    try {
      const taken = this.#sink.start(streamHead, block);
      this.#started = true;
      return this.#written(block, taken);
    } catch {
      return "failed";
    }
  }

  /** Gathers what is written from now on, for one write; may be nested. */
  cork(): void {
    this.#corks++;
  }

  /** Writes what was gathered, with the outermost cork. */
  uncork(): WriteResult | Corked {
    return --this.#corks > 0 ? "corked" : this.#writeCorked();
  }

  write(block: EncodedFrames): WriteResult | Corked {
    if (this.#corks === 0) return this.#write(block);
    (this.#corked ??= []).push(block);
    this.#corkedLength += block.text.length;
    return "corked";
  }

  /** Answers in place of a stream. */
  answer(answer: HttpAnswer): void {
    if (this.#sink.closed) return;
    try {
      this.#sink.answer(answer);
    } catch {
      this.#destroySink();
    }
  }

  /** Ends the response; a client that has not read the rest by the deadline is dropped. Never rejects. */
  async end(timeoutMs: number): Promise<void> {
    try {
      if (this.#sink.closed) return;
      const gone = new Promise<void>((resolve) => (this.#onGone = resolve));
      // A stream may end with an event that was gathered with others.
      this.#writeCorked();
      this.#sink.end();
      await withDeadline(gone, { clock: this.#clock, timeoutMs, what: "the client to read the last bytes" });
    } catch {
      this.#destroySink();
    }
  }

  destroy(): void {
    this.#destroyed = true;
    this.#destroySink();
  }

  /** A sink that throws here can do nothing more for its client. The session must close all the same. */
  #destroySink(): void {
    try {
      this.#sink.destroy();
    } catch (error) {
      log("destroy() of the sink threw: %s", describeThrown(error));
    }
  }

  /** Takes the listeners away. */
  detach(): void {
    this.#detach?.();
  }

  #writeCorked(): WriteResult {
    if (this.#corked === null) return "taken";
    const block = joinBlocks(this.#corked);
    this.#corked = null;
    this.#corkedLength = 0;
    return this.#destroyed ? "failed" : this.#write(block);
  }

  #write(block: EncodedFrames): WriteResult {
    try {
      return this.#written(block, this.#sink.write(block));
    } catch {
      return "failed";
    }
  }

  #written(block: EncodedFrames, taken: boolean): WriteResult {
    this.#bytesSent += block.byteLength;
    this.#hasWritten = true;
    return taken ? "taken" : "blocked";
  }
}
