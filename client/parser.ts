/** One event, as the client got it. */
export interface StreamMessage {
  /** The type of the event: "message" if the server sent none. */
  readonly event: string;
  /** The data as text. */
  readonly text: string;
  /** The id of the last event that had one. Empty before the first. */
  readonly id: string;
}

/** What a `StreamParser` finds. */
export interface ParserHandlers {
  onMessage(message: StreamMessage): void;
  /** The server asks the client to wait this long before it reconnects. */
  onRetry(retryMs: number): void;
}

/**
 * Parses an event stream by the rules of WHATWG HTML 9.2.5 and 9.2.6. An event counts only with its blank line, and so does its
 * id. A connection that breaks within an event loses nothing.
 */
export class StreamParser {
  readonly #handlers: ParserHandlers;
  /** The start of a line whose end has not arrived. */
  #rest = "";
  #isFirst = true;
  /** The last chunk ended with CR. A LF that follows belongs to the same line end. */
  #endedWithCr = false;
  #event = "";
  #data: string[] = [];
  #id: string;

  constructor(handlers: ParserHandlers, lastEventId: string) {
    this.#handlers = handlers;
    this.#id = lastEventId;
  }

  /** Parses the next piece of text. A piece can end anywhere. */
  feed(chunk: string): void {
    let text = chunk;
    if (text === "") return;
    if (this.#endedWithCr && text.startsWith("\n")) text = text.slice(1);
    this.#endedWithCr = text.endsWith("\r");
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop()!;
    for (const line of lines) this.#readLine(line);
  }

  #readLine(line: string): void {
    const text = this.#isFirst && line.startsWith("\uFEFF") ? line.slice(1) : line;
    this.#isFirst = false;
    if (text === "") return this.#dispatch();
    const colon = text.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(text[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.#handlers.onRetry(Number(value));
  }

  /** An event without data is not dispatched, but its id counts. */
  #dispatch(): void {
    const message = { event: this.#event || "message", text: this.#data.join("\n"), id: this.#id };
    const isEmpty = this.#data.length === 0;
    this.#event = "";
    this.#data = [];
    this.#handlers.onMessage(isEmpty ? { ...message, event: "" } : message);
  }
}
