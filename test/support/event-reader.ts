import { createParser } from "eventsource-parser";

/** An event as a client dispatches it. `event` is "message" if the stream gives no name. */
export interface ReceivedEvent {
  readonly event: string;
  readonly data: string;
  readonly id: string | undefined;
}

/** The text between two blank lines: an event, or only an id. Clients store an id without data too. */
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
 * The only reader of event streams in the tests. It uses a third-party parser. The parser skips blocks with an id and
 * no data, so each block gets an extra data line, which is removed again.
 */
export class EventReader {
  readonly #handlers: BlockHandlers;
  readonly #parser;
  /** The last character received. A stream starts as if after a line end. */
  #before = "\n";
  #lastEventId: string | undefined;

  /** `lastEventId` is the id of the previous connection. */
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

  /** The id that a browser would send as `Last-Event-ID`. An id counts when its block ends. */
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

/** Whether a client dispatches an event for the block. */
export function isEventBlock(block: ReceivedBlock): block is ReceivedEvent {
  return block.data !== undefined;
}

/** Returns all complete blocks of a stream. */
export function parseBlocks(text: string): readonly ReceivedBlock[] {
  const blocks: ReceivedBlock[] = [];
  new EventReader({ onBlock: (block) => blocks.push(block) }).feed(text);
  return blocks;
}

export function parseEvents(text: string): readonly ReceivedEvent[] {
  return parseBlocks(text).filter(isEventBlock);
}

/** The id that a browser would send as `Last-Event-ID` after this text. */
export function lastIdIn(text: string): string | undefined {
  return parseBlocks(text).findLast(({ id }) => id !== undefined)?.id;
}
