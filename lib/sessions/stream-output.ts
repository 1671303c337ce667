import type { Clock } from "../clock.js";
import { withDeadline } from "../deadline.js";
import { createLog } from "../log.js";
import { type HttpAnswer, streamHead } from "../sse/http-answer.js";
import { joinBlocks, type EncodedFrames } from "../sse/frame.js";
import { describeThrown } from "../thrown.js";
import type { Sink, SinkListener } from "./sink.js";
import type { SinkConnection } from "../peers/dead-peer-detector.js";

const log = createLog("session");

/** How the sink handled a block. `blocked`: it accepted the block, but must drain before the next one. */
export type WriteResult = "taken" | "blocked" | "failed";

/** The block was gathered for a later write. */
export type Corked = "corked";

/** Writes the response of a session. It counts the bytes, never throws, and ends within a deadline. */
export class StreamOutput implements SinkListener {
  readonly #sink: Sink;
  readonly #clock: Clock;
  readonly #listener: SinkListener;
  /** Set while `end()` waits for the response to close. */
  #onGone: (() => void) | null = null;
  #detach: (() => void) | null = null;
  #corks = 0;
  /** The blocks that were gathered since `cork()`. */
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

  /** Attaches to the sink, which may report at once that the client has left. Returns false if the sink threw. */
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

  /** See `Sink.connection`. */
  get connection(): SinkConnection | null | undefined {
    return this.#sink.connection;
  }

  get closed(): boolean {
    return this.#sink.closed;
  }

  /** Whether the stream has started. After the start, the client gets an error as an event; before it, as an HTTP answer. */
  get started(): boolean {
    return this.#started;
  }

  get bytesSent(): number {
    return this.#bytesSent;
  }

  /** Length of the gathered blocks, in UTF-16 units. */
  get corkedLength(): number {
    return this.#corkedLength;
  }

  /** Whether the operating system has accepted all written bytes. */
  get isClear(): boolean {
    return (this.#sink.pendingBytes ?? 0) === 0;
  }

  /** Whether anything was written since the last call. The heartbeat uses this, so that writes need not read a clock. */
  takeActivity(): boolean {
    const hasWritten = this.#hasWritten;
    this.#hasWritten = false;
    return hasWritten;
  }

  /** Starts the event stream with its first block. */
  start(block: EncodedFrames): WriteResult {
    try {
      const taken = this.#sink.start(streamHead, block);
      this.#started = true;
      return this.#written(block, taken);
    } catch {
      return "failed";
    }
  }

  /** Gathers the following blocks for one write. Calls can be nested. */
  cork(): void {
    this.#corks++;
  }

  /** Ends a `cork()`. The outermost call writes the gathered blocks. */
  uncork(): WriteResult | Corked {
    return --this.#corks > 0 ? "corked" : this.#writeCorked();
  }

  write(block: EncodedFrames): WriteResult | Corked {
    if (this.#corks === 0) return this.#write(block);
    (this.#corked ??= []).push(block);
    this.#corkedLength += block.text.length;
    return "corked";
  }

  /** Sends an HTTP answer instead of a stream. */
  answer(answer: HttpAnswer): void {
    if (this.#sink.closed) return;
    try {
      this.#sink.answer(answer);
    } catch {
      this.#destroySink();
    }
  }

  /** Ends the response. If the client does not read the rest before the deadline, drops the connection. Never rejects. */
  async end(timeoutMs: number): Promise<void> {
    try {
      if (this.#sink.closed) return;
      const gone = new Promise<void>((resolve) => (this.#onGone = resolve));
      // The last event of the stream may still be gathered.
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

  /** Destroys the sink. If the sink throws, the session must still close. */
  #destroySink(): void {
    try {
      this.#sink.destroy();
    } catch (error) {
      log("destroy() of the sink threw: %s", describeThrown(error));
    }
  }

  /** Removes the listeners. */
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
