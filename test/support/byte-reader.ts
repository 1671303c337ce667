/** An event as a client dispatches it. */
export interface ReadEvent {
  readonly event: string;
  readonly data: string;
  /** Whether its block had an `id` field. */
  readonly hasId: boolean;
}

/**
 * When a client stores an id. "early": when the id line has arrived, as `eventsource` 2 does. "dispatch": when the blank
 * line of the block has arrived, as browsers do.
 */
export type IdStorage = "early" | "dispatch";

const CR = 13;
const LF = 10;

/**
 * An SSE client that reads one byte at a time, so the stream can end inside a character, a line or a block. A line ends with
 * LF, CR or CRLF. Use one reader for each connection, and pass it the last id of the previous one.
 */
export class ByteReader {
  readonly events: ReadEvent[] = [];
  readonly #storage: IdStorage;
  #lastId: string;
  readonly #line: number[] = [];
  #isAfterCr = false;
  #event = "";
  #data: string | null = null;
  #id: string | null = null;

  constructor(storage: IdStorage, lastId: string = "") {
    this.#storage = storage;
    this.#lastId = lastId;
  }

  /** The value of `Last-Event-ID` if the client reconnects now. */
  get lastId(): string {
    return this.#lastId;
  }

  /**
   * The event that the client loses if the link breaks now and the next byte is the blank line: the client has stored its
   * id already. `null` if the client loses nothing.
   */
  get skipped(): ReadEvent | null {
    const isStored = this.#storage === "early" && this.#id !== null && this.#line.length === 0;
    return isStored ? this.#pending : null;
  }

  /** The event of the unfinished block. */
  get #pending(): ReadEvent | null {
    if (this.#data === null) return null;
    return { event: this.#event || "message", data: this.#data, hasId: this.#id !== null };
  }

  feed(bytes: Uint8Array): void {
    for (const byte of bytes) this.feedByte(byte);
  }

  feedByte(byte: number): void {
    const isSecondOfCrlf = byte === LF && this.#isAfterCr;
    this.#isAfterCr = byte === CR;
    if (isSecondOfCrlf) return;
    if (byte !== LF && byte !== CR) return void this.#line.push(byte);
    const line = Buffer.from(this.#line).toString();
    this.#line.length = 0;
    if (line === "") this.#dispatch();
    else this.#takeField(line);
  }

  #takeField(line: string): void {
    const [, name = "", value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line)!;
    if (name === "event") this.#event = value;
    if (name === "data") this.#data = this.#data === null ? value : `${this.#data}\n${value}`;
    if (name !== "id" || value.includes("\0")) return;
    this.#id = value;
    if (this.#storage === "early") this.#lastId = value;
  }

  #dispatch(): void {
    const pending = this.#pending;
    if (pending !== null) this.events.push(pending);
    this.#lastId = this.#id ?? this.#lastId;
    this.#event = "";
    this.#data = null;
    this.#id = null;
  }
}

/** All events of a whole stream. */
export function readAll(bytes: Uint8Array): readonly ReadEvent[] {
  const reader = new ByteReader("dispatch");
  reader.feed(bytes);
  return reader.events;
}
