import type {
  EncodedFrames,
  HttpAnswer,
  Sink,
  SinkConnection,
  SinkListener,
  StreamHead,
} from "../../lib/adapter.js";
import { parseEvents, type ReceivedEvent } from "./event-reader.js";

/** A response without a client. The test decides when it blocks, drains and closes. */
export class FakeSink implements Sink {
  closed = false;
  head: StreamHead | null = null;
  answered: HttpAnswer | null = null;
  ended = false;
  destroyed = false;
  /** Result of `write`. `false` means that the client does not read. */
  takes = true;
  /** Whether `end()` causes a close, as with a client that reads. */
  closesOnEnd = true;
  connection: SinkConnection | null = null;
  listeners = 0;
  text = "";
  writes = 0;
  #listener: SinkListener | null = null;

  start(head: StreamHead, block: EncodedFrames): boolean {
    this.head = head;
    return this.write(block);
  }

  write({ payload }: EncodedFrames): boolean {
    if (this.ended) throw new Error("write after end");
    // UTF-8 cannot encode half of a surrogate pair.
    this.text += (typeof payload === "string" ? Buffer.from(payload) : payload).toString();
    this.writes++;
    return this.takes;
  }

  end(): void {
    this.ended = true;
    if (this.closesOnEnd) this.leave();
  }

  destroy(): void {
    this.destroyed = true;
    this.leave();
  }

  answer(answer: HttpAnswer): void {
    this.answered = answer;
    this.ended = true;
    this.leave();
  }

  attach(listener: SinkListener): () => void {
    this.#listener = listener;
    this.listeners++;
    return () => {
      this.#listener = null;
      this.listeners--;
    };
  }

  /** The client reads again. */
  drain(): void {
    this.takes = true;
    this.#listener?.onDrain();
  }

  /** The client reads the buffered data and accepts one more write. */
  step(): void {
    this.takes = false;
    this.#listener?.onDrain();
  }

  /** The client disconnects. */
  leave(failed = false): void {
    if (this.closed) return;
    this.closed = true;
    this.#listener?.onClose(failed);
  }

  /** The events written so far, as an EventSource dispatches them. */
  get events(): readonly ReceivedEvent[] {
    return parseEvents(this.text);
  }
}
