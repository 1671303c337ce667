import { createParser } from "eventsource-parser";

/** An event as a client dispatches it; `event` is "message" where the stream named none. */
export interface ReceivedEvent {
  readonly event: string;
  readonly data: string;
  readonly id: string | undefined;
}

/** What is between two blank lines: an event, or without data an id alone, which a client stores all the same. */
export interface ReceivedBlock extends Omit<ReceivedEvent, "data"> {
  readonly data: string | undefined;
}

export interface BlockHandlers {
  onBlock?(block: ReceivedBlock): void;
  onComment?(comment: string): void;
  onRetry?(milliseconds: number): void;
  /** A line that a client ignores. */
  onUnknown?(line: string): void;
}

const LINE_END_BEFORE_BLANK_LINE = /(?<=\n|\r(?!\n))(?=[\r\n])/g;

/**
 * The tests' only reader of event streams, over a parser that is not ours. The parser tells nothing of a block that has an
 * id and no data. So each block gets one more line of data at its end, which is taken away again.
 */
export class EventReader {
  readonly #handlers: BlockHandlers;
  readonly #parser;
  /** The last character that came. A stream begins as behind a line. */
  #before = "\n";
  #lastEventId: string | undefined;

  /** `lastEventId`: of the connection before. */
  constructor(handlers: BlockHandlers = {}, lastEventId?: string) {
    this.#handlers = handlers;
    this.#lastEventId = lastEventId;
    this.#parser = createParser({
      onEvent: ({ event = "message", data, id }) => this.#take(event, data, id),
      onComment: (comment) => handlers.onComment?.(comment),
      onRetry: (milliseconds) => handlers.onRetry?.(milliseconds),
      onError: ({ line = "" }) => handlers.onUnknown?.(line),
    });
  }

  /** What a browser would send as `Last-Event-ID` now: an id counts when its block ends. */
  get lastEventId(): string | undefined {
    return this.#lastEventId;
  }

  feed(text: string): void {
    if (text === "") return;
    const marked = (this.#before + text).replaceAll(LINE_END_BEFORE_BLANK_LINE, "data:\n");
    this.#before = text.at(-1)!;
    this.#parser.feed(marked.slice(1));
  }

  #take(event: string, marked: string, id: string | undefined): void {
    const data = marked === "" ? undefined : marked.slice(0, -1);
    if (id !== undefined) this.#lastEventId = id;
    if (data !== undefined || id !== undefined) this.#handlers.onBlock?.({ event, data, id });
  }
}

/** Whether a client dispatches an event for it. */
export function isEventBlock(block: ReceivedBlock): block is ReceivedEvent {
  return block.data !== undefined;
}

/** All blocks of a stream; one that is not complete is none. */
export function parseBlocks(text: string): readonly ReceivedBlock[] {
  const blocks: ReceivedBlock[] = [];
  new EventReader({ onBlock: (block) => blocks.push(block) }).feed(text);
  return blocks;
}

export function parseEvents(text: string): readonly ReceivedEvent[] {
  return parseBlocks(text).filter(isEventBlock);
}

/** What a browser would send as `Last-Event-ID` behind that text. */
export function lastIdIn(text: string): string | undefined {
  return parseBlocks(text).findLast(({ id }) => id !== undefined)?.id;
}
