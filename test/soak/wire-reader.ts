import { parseChunked } from "../support/chunked.js";
import { EventReader, isEventBlock, type ReceivedEvent } from "../support/event-reader.js";

export interface WireHandlers {
  onStatus(status: number): void;
  onEvent(event: ReceivedEvent): void;
  onRetry(milliseconds: number): void;
  onHeartbeat(): void;
  /** The response is complete. */
  onComplete(): void;
  /** Bytes that follow a complete response. */
  onTrailing(text: string): void;
  /** What came is neither HTTP nor an event stream as this library writes them. */
  onGarbage(text: string): void;
}

/** Comments, which stand between blocks. */
const HEARTBEATS = /^(?::\n)*/;

/** Reads one HTTP/1.1 response with an event stream, byte for byte. Takes what this library and Node do not write for a fault. */
export class WireReader {
  readonly #handlers: WireHandlers;
  readonly #events: EventReader;
  #part: "head" | "chunked" | "sized" | "done" = "head";
  /** Bytes of HTTP that are not understood yet. */
  #pending: Buffer = Buffer.alloc(0);
  /** A block that is not complete yet. */
  #block = "";
  #bodyLeft = 0;
  #status = 0;

  constructor(handlers: WireHandlers) {
    this.#handlers = handlers;
    this.#events = new EventReader({
      onBlock: (block) => isEventBlock(block) && handlers.onEvent(block),
      onRetry: (milliseconds) => handlers.onRetry(milliseconds),
      onComment: () => handlers.onHeartbeat(),
      onUnknown: (line) => handlers.onGarbage(line),
    });
  }

  get complete(): boolean {
    return this.#part === "done";
  }

  feed(bytes: Buffer): void {
    if (this.#part === "done") return this.#handlers.onTrailing(bytes.toString("latin1"));
    this.#pending = Buffer.concat([this.#pending, bytes]);
    if (this.#part === "head") this.#readHead();
    if (this.#part === "chunked") this.#readChunks();
    if (this.#part === "sized") this.#readSized();
  }

  #readHead(): void {
    const end = this.#pending.indexOf("\r\n\r\n");
    if (end < 0) return;
    const head = this.#pending.toString("latin1", 0, end).toLowerCase();
    this.#pending = this.#pending.subarray(end + 4);
    this.#status = Number(/^http\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0);
    if (this.#status === 0) this.#handlers.onGarbage(head);
    this.#handlers.onStatus(this.#status);
    this.#bodyLeft = Number(/^content-length: (\d+)$/m.exec(head)?.[1] ?? 0);
    this.#part = /^transfer-encoding: chunked$/m.test(head) ? "chunked" : "sized";
  }

  #readChunks(): void {
    try {
      const { chunks, isOver, rest } = parseChunked(this.#pending);
      this.#pending = rest;
      for (const chunk of chunks) this.#readText(chunk.toString("latin1"));
      if (isOver) this.#complete();
    } catch (error) {
      this.#handlers.onGarbage((error as Error).message);
    }
  }

  #readSized(): void {
    const body = this.#pending.subarray(0, this.#bodyLeft);
    this.#pending = this.#pending.subarray(body.length);
    this.#bodyLeft -= body.length;
    this.#readText(body.toString("latin1"));
    if (this.#bodyLeft === 0) this.#complete();
  }

  #readText(text: string): void {
    if (this.#status !== 200) return;
    this.#block = (this.#block + text).split("\n\n").at(-1)!.replace(HEARTBEATS, "");
    this.#events.feed(text);
  }

  #complete(): void {
    const trailing = this.#pending.toString("latin1");
    this.#part = "done";
    if (this.#block !== "") this.#handlers.onGarbage(this.#block);
    this.#handlers.onComplete();
    if (trailing !== "") this.#handlers.onTrailing(trailing);
  }
}
