import { createParser } from "eventsource-parser";

import { parseChunked } from "../support/chunked.js";

/** What was between two blank lines. */
export interface Block {
  /** What a browser would dispatch; `null` where there was no data. */
  readonly event: { readonly type: string; readonly data: string } | null;
  /** Whether it had an id, which then is the reader's last. */
  readonly hasId: boolean;
}

export interface StreamHandlers {
  onStatus(status: number): void;
  onBlock(block: Block): void;
  onHeartbeat(): void;
  /** The response is complete. */
  onComplete(): void;
  /** Bytes that follow a complete response. */
  onTrailing(text: string): void;
  /** What came is neither HTTP nor an event stream as this library writes them. */
  onGarbage(text: string): void;
}

/**
 * Reads one response over HTTP/1.1 that is an event stream. The chunks are read strictly; the events with a parser that is not
 * ours. The last event id is kept as a browser does: an `id` line counts when its block ends, with or without data; of a block
 * that is cut off nothing counts. The parser does not report blocks without data, so the stream is handed to it line by line,
 * and ids are read beside it. Text is latin1, since all that is published is ASCII.
 */
export class StreamReader {
  /** How long the server asks the client to stay away. */
  retryMs = 0;
  readonly #handlers: StreamHandlers;
  readonly #parser = createParser({
    onEvent: ({ event = "message", data }) => (this.#event = { type: event, data }),
    onRetry: (milliseconds) => (this.retryMs = milliseconds),
    onComment: () => this.#handlers.onHeartbeat(),
    onError: ({ message }) => this.#handlers.onGarbage(message),
  });
  #part: "head" | "body" | "done" | "useless" = "head";
  /** Bytes of HTTP that are not understood yet. */
  #bytes: Buffer = Buffer.alloc(0);
  /** A line that is not complete yet. */
  #line = "";
  #isInBlock = false;
  #event: Block["event"] = null;
  #idOfBlock: string | null = null;
  #lastEventId: string | undefined;

  constructor(lastEventId: string | undefined, handlers: StreamHandlers) {
    this.#lastEventId = lastEventId;
    this.#handlers = handlers;
  }

  get lastEventId(): string | undefined {
    return this.#lastEventId;
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
    for (const chunk of body.chunks) this.#readLines(chunk.toString("latin1"));
    if (!body.isOver) return;
    this.#part = "done";
    if (this.#line !== "" || this.#isInBlock) this.#handlers.onGarbage("half an event at the end");
    this.#handlers.onComplete();
    if (body.rest.length > 0) this.#handlers.onTrailing(body.rest.toString("latin1"));
  }

  /** Lines end with LF here, as this library writes them. */
  #readLines(text: string): void {
    const [first = "", ...others] = text.split("\n");
    let line = this.#line + first;
    for (const next of others) {
      this.#readLine(line);
      line = next;
    }
    this.#line = line;
  }

  #readLine(line: string): void {
    this.#parser.feed(`${line}\n`);
    if (line.startsWith("id:")) this.#idOfBlock = line.slice(line[3] === " " ? 4 : 3);
    if (line !== "") {
      this.#isInBlock ||= !line.startsWith(":");
      return;
    }
    const hasId = this.#idOfBlock !== null;
    if (hasId) this.#lastEventId = this.#idOfBlock!;
    const event = this.#event;
    this.#idOfBlock = this.#event = null;
    this.#isInBlock = false;
    if (event !== null || hasId) this.#handlers.onBlock({ event, hasId });
  }
}
