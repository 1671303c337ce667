import { createParser } from "eventsource-parser";

/** What was between two blank lines. */
export interface EncodedFrames {
  /** What a browser would dispatch; `null` where there was no data. */
  readonly event: { readonly type: string; readonly data: string } | null;
  /** Whether it had an id, which then is the reader's last. */
  readonly hasId: boolean;
}

/**
 * Reads an event stream with a parser that is not ours, and keeps the last event id as a browser does: an `id` line
 * counts when its block ends, with or without data; of a block that is cut off nothing counts. The parser does not
 * report blocks without data, so the stream is handed to it line by line, and ids are read beside it.
 */
export class EventReader {
  readonly #onBlock: (block: EncodedFrames) => void;
  readonly #parser = createParser({
    onEvent: ({ event = "message", data }) => (this.#event = { type: event, data }),
  });
  #event: EncodedFrames["event"] = null;
  #pending = "";
  #idOfBlock: string | null = null;
  #lastEventId: string | undefined;

  constructor(lastEventId: string | undefined, onBlock: (block: EncodedFrames) => void) {
    this.#lastEventId = lastEventId;
    this.#onBlock = onBlock;
  }

  get lastEventId(): string | undefined {
    return this.#lastEventId;
  }

  /** Lines end with LF here, as this library writes them. */
  feed(text: string): void {
    this.#pending += text;
    let at = 0;
    for (let end = this.#pending.indexOf("\n"); end >= 0; end = this.#pending.indexOf("\n", at)) {
      this.#readLine(this.#pending.slice(at, end));
      at = end + 1;
    }
    this.#pending = this.#pending.slice(at);
  }

  #readLine(line: string): void {
    this.#parser.feed(`${line}\n`);
    if (line.startsWith("id:")) this.#idOfBlock = line.slice(line[3] === " " ? 4 : 3);
    if (line !== "") return;
    const hasId = this.#idOfBlock !== null;
    if (hasId) this.#lastEventId = this.#idOfBlock!;
    const event = this.#event;
    this.#idOfBlock = this.#event = null;
    if (event !== null || hasId) this.#onBlock({ event, hasId });
  }
}
