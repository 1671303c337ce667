/** One event, as the client got it. */
export interface StreamMessage {
  /** The type of the event: "message" if the server sent none. */
  readonly event: string;
  /** The data as text. */
  readonly text: string;
  /** The id of the last event that had one. Empty before the first. */
  readonly id: string;
}

/** Characters of one event. A server that never ends a line would fill the memory of the page. */
const MAX_EVENT_LENGTH = 64 * 1024 * 1024;

/**
 * Parses an event stream by the rules of WHATWG HTML 9.2.5 and 9.2.6. The decoder has removed a byte order mark. An event counts
 * only with its blank line, and so does its id. A connection that breaks within an event loses nothing.
 */
export class StreamParser {
  readonly #onRetry: (retryMs: number) => void;
  /** The start of a line whose end has not arrived. */
  #rest = "";
  /** The last chunk ended with CR. A LF that follows belongs to the same line end. */
  #endedWithCr = false;
  #event = "";
  #data: string[] = [];
  #id: string;
  /** Length of the lines of an event whose blank line has not arrived. */
  #length = 0;

  constructor(onRetry: (retryMs: number) => void, lastEventId: string) {
    this.#onRetry = onRetry;
    this.#id = lastEventId;
  }

  /** The event that has not ended is longer than 64 Mi characters. */
  get isTooLong(): boolean {
    return this.#rest.length + this.#length > MAX_EVENT_LENGTH;
  }

  /** Parses the next piece of text. A piece can end anywhere. An event without data has the type "". */
  *feed(chunk: string): Generator<StreamMessage, void, undefined> {
    if (chunk === "") return;
    const text = this.#endedWithCr && chunk.startsWith("\n") ? chunk.slice(1) : chunk;
    this.#endedWithCr = text.endsWith("\r");
    let from = 0;
    for (const { 0: end, index } of text.matchAll(/\r\n|\n|\r/g)) {
      const line = this.#rest + text.slice(from, index);
      this.#rest = "";
      from = index + end.length;
      if (line === "") yield this.#takeEvent();
      else this.#readLine(line);
    }
    this.#rest += text.slice(from);
  }

  #readLine(line: string): void {
    const colon = line.indexOf(":");
    if (colon === 0) return;
    this.#length += line.length + 1;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.#onRetry(Number(value));
  }

  /** An event without data is not dispatched, but its id counts. */
  #takeEvent(): StreamMessage {
    const event = this.#data.length === 0 ? "" : this.#event || "message";
    const message = { event, text: this.#data.join("\n"), id: this.#id };
    this.#event = "";
    this.#data = [];
    this.#length = 0;
    return message;
  }
}
