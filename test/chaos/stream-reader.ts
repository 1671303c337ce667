import { parseChunked } from "../support/chunked.js";
import { EventReader, type ReceivedBlock } from "../support/event-reader.js";

export interface StreamHandlers {
  onStatus(status: number): void;
  onBlock(block: ReceivedBlock): void;
  onHeartbeat(): void;
  /** The response is complete. */
  onComplete(): void;
  /** Bytes after a complete response. */
  onTrailing(text: string): void;
  /** The data is not HTTP, or not an event stream as this library writes it. */
  onGarbage(text: string): void;
}

/** Comments between blocks. */
const HEARTBEATS = /^(?::\n)*/;

/**
 * Reads one HTTP/1.1 response with an event stream. Chunks are parsed strictly. Text is latin1, because all published
 * data is ASCII.
 */
export class StreamReader {
  /** Retry delay sent by the server. */
  retryMs = 0;
  readonly #handlers: StreamHandlers;
  readonly #events: EventReader;
  #part: "head" | "body" | "done" | "useless" = "head";
  /** Bytes that are not parsed yet. */
  #bytes: Buffer = Buffer.alloc(0);
  /** An incomplete block. */
  #block = "";

  constructor(lastEventId: string | undefined, handlers: StreamHandlers) {
    this.#handlers = handlers;
    this.#events = new EventReader(
      {
        onBlock: (block) => handlers.onBlock(block),
        onRetry: (milliseconds) => (this.retryMs = milliseconds),
        onComment: () => handlers.onHeartbeat(),
        onUnknown: (line) => handlers.onGarbage(line),
      },
      lastEventId,
    );
  }

  get lastEventId(): string | undefined {
    return this.#events.lastEventId;
  }

  get complete(): boolean {
    return this.#part === "done";
  }

  feed(bytes: Buffer): void {
    if (this.#part === "done") return this.#handlers.onTrailing(bytes.toString("latin1"));
    this.#bytes = this.#bytes.length === 0 ? bytes : Buffer.concat([this.#bytes, bytes]);
    if (this.#part === "head") this.#readHead();
    if (this.#part === "body") this.#readBody();
  }

  #readHead(): void {
    const end = this.#bytes.indexOf("\r\n\r\n");
    if (end < 0) return;
    const head = this.#bytes.toString("latin1", 0, end).toLowerCase();
    this.#bytes = this.#bytes.subarray(end + 4);
    const status = Number(/^http\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0);
    this.#part = "useless";
    if (status === 0) return this.#handlers.onGarbage(head.slice(0, 80));
    this.#handlers.onStatus(status);
    if (status !== 200) return;
    if (!/^transfer-encoding: chunked$/m.test(head)) return this.#handlers.onGarbage(head);
    this.#part = "body";
  }

  #readBody(): void {
    let body: ReturnType<typeof parseChunked>;
    try {
      body = parseChunked(this.#bytes);
    } catch (error) {
      this.#part = "useless";
      return this.#handlers.onGarbage((error as Error).message);
    }
    this.#bytes = body.rest;
    for (const chunk of body.chunks) this.#readText(chunk.toString("latin1"));
    if (!body.isOver) return;
    this.#part = "done";
    if (this.#block !== "") this.#handlers.onGarbage("half an event at the end");
    this.#handlers.onComplete();
    if (body.rest.length > 0) this.#handlers.onTrailing(body.rest.toString("latin1"));
  }

  #readText(text: string): void {
    this.#block = (this.#block + text).split("\n\n").at(-1)!.replace(HEARTBEATS, "");
    this.#events.feed(text);
  }
}
