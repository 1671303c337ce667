import { createParser, type EventSourceMessage } from "eventsource-parser";

import { assertOptions, optionError } from "../lib/adapter.js";
import { RedisSseError } from "../lib/index.js";
import { openSource, type OpenedStream, type StreamSource } from "./stream-chunks.js";

export type { StreamSource };

/** Options of `collect()`. */
export interface CollectOptions {
  /** Headers of the request, such as `Cookie`. Only for a URL. */
  readonly headers?: Readonly<Record<string, string>> | Headers | undefined;
  /** Resumes the stream after the event with this id, as a browser does when it reconnects. Only for a URL. */
  readonly lastEventId?: string | undefined;
  /**
   * Timeout of each wait, in milliseconds of real time. Keep it shorter than the timeout of your test runner. Then you see
   * this error and not the runner's error.
   *
   * @defaultValue 1_500
   */
  readonly timeoutMs?: number | undefined;
}

/** Options of one wait. */
export interface WaitOptions {
  /**
   * Timeout of this wait, in milliseconds of real time.
   *
   * @defaultValue `timeoutMs` of `collect()`
   */
  readonly timeoutMs?: number | undefined;
}

/** One event of a stream. */
export interface CollectedEvent<Data = unknown> {
  /** The event name. `"message"` if the event has no name. */
  readonly event: string;
  /** The parsed data if it is JSON, otherwise the text. The text `7` is JSON too. */
  readonly data: Data;
  /** The data as text, as sent by the server. */
  readonly text: string;
  /** The event id. `undefined` if the event has no id. */
  readonly id: string | undefined;
}

/**
 * The events of one stream, read by `collect()`.
 *
 * `control` has the control events of the library: `connected`, `gap`, `error` and `closing`. Only `event(name)` waits for
 * control events. All other members contain only the events of your app.
 */
export interface CollectedStream extends AsyncIterable<CollectedEvent> {
  /** The HTTP status. `null` if the source is a stream without a status. */
  readonly status: number | null;
  /** The events of your app so far. */
  readonly events: readonly CollectedEvent[];
  /** The control events so far. */
  readonly control: readonly CollectedEvent[];
  /** The last event id so far. Pass it to the next `collect()` as `lastEventId`. */
  readonly lastEventId: string | undefined;
  /**
   * Waits for the next event of your app that no call has returned yet. Rejects with `NOT_RECEIVED` at the timeout or if the
   * stream ends. The message lists the events so far.
   */
  next<Data = unknown>(options?: WaitOptions): Promise<CollectedEvent<Data>>;
  /**
   * Waits for the first event with this name that no call has returned yet. The event can be a control event, and it can
   * already have arrived. Later calls can still return the other events. Rejects like `next()`.
   */
  event<Data = unknown>(name: string, options?: WaitOptions): Promise<CollectedEvent<Data>>;
  /** Waits until the server ends the stream. Returns all events of your app. Rejects with `NOT_RECEIVED` at the timeout. */
  ended(options?: WaitOptions): Promise<readonly CollectedEvent[]>;
  /** Iterates over the events that no call has returned yet, until the stream ends. Each wait has the timeout of `next()`. */
  [Symbol.asyncIterator](): AsyncIterator<CollectedEvent>;
  /** Closes the connection, as a browser does when the page closes. Never rejects. */
  close(): Promise<void>;
  /** Same as `close()`. */
  [Symbol.asyncDispose](): Promise<void>;
}

const DEFAULT_TIMEOUT_MS = 1_500;
/** Maximum length of event data, or of a response without events, in an error message. */
const MAX_SHOWN = 200;
const MAX_SHOWN_EVENTS = 20;

const COLLECT_OPTIONS: ReadonlySet<string> = new Set<keyof CollectOptions>([
  "headers",
  "lastEventId",
  "timeoutMs",
]);
const WAIT_OPTIONS: ReadonlySet<string> = new Set<keyof WaitOptions>(["timeoutMs"]);
const CONTROL: ReadonlySet<string> = new Set(["connected", "gap", "error", "closing"]);

/** Matches the end of a line before a blank line. */
const BEFORE_BLANK_LINE = /(?<=\n|\r(?!\n))(?=[\r\n])/g;

// Bound when this file is loaded, because a test can replace the global timers later.
const { setTimeout, clearTimeout } = globalThis;

/**
 * Reads an event stream of your app and returns its events as they arrive.
 *
 * `source` is a URL or a stream. A URL is fetched. A stream is a `Response`, a Node `IncomingMessage` or another readable
 * stream. Resolves when the response headers arrive, also for an HTTP error status: check `status`.
 *
 * Rejects with:
 * - `ConfigError` if an argument is invalid.
 * - `NOT_RECEIVED` if the server does not answer before the timeout.
 * - the error of `fetch()` if the request fails.
 *
 * @example
 * const stream = await collect(`${url}/events`);
 * await sse.publish("news", { event: "greeting", data: { hello: "ann" } });
 * const { data } = await stream.event("greeting"); // { hello: "ann" }
 * await stream.close();
 */
export async function collect(source: StreamSource, options: CollectOptions = {}): Promise<CollectedStream> {
  assertOptions("collect()", options, COLLECT_OPTIONS);
  const { headers, lastEventId, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  assertTimeout(timeoutMs);
  const sent = headers === undefined && lastEventId === undefined ? undefined : new Headers(headers);
  if (lastEventId !== undefined) sent!.set("Last-Event-ID", lastEventId);
  return new StreamReader(await openSource(source, sent, timeoutMs), timeoutMs);
}

class StreamReader implements CollectedStream {
  readonly status: number | null;
  readonly events: CollectedEvent[] = [];
  readonly control: CollectedEvent[] = [];
  lastEventId: string | undefined;
  readonly #timeoutMs: number;
  readonly #cancel: () => void;
  readonly #reading: Promise<void>;
  readonly #all: CollectedEvent[] = [];
  /** Events that no call has returned yet. */
  readonly #untaken = new Set<CollectedEvent>();
  readonly #waits = new Set<() => void>();
  /** Start of the text of a response that is not an event stream. */
  #head = "";
  #isOver = false;

  constructor({ status, chunks, cancel }: OpenedStream, timeoutMs: number) {
    this.status = status;
    this.#timeoutMs = timeoutMs;
    this.#cancel = cancel;
    this.#reading = this.#read(chunks);
  }

  next<Data>(options?: WaitOptions): Promise<CollectedEvent<Data>> {
    return this.#wait("an event", options, () => this.#take(({ event }) => !CONTROL.has(event)));
  }

  event<Data>(name: string, options?: WaitOptions): Promise<CollectedEvent<Data>> {
    return this.#wait(`the event "${name}"`, options, () => this.#take(({ event }) => event === name));
  }

  ended(options?: WaitOptions): Promise<readonly CollectedEvent[]> {
    return this.#wait("the end of the stream", options, () => (this.#isOver ? this.events : undefined));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<CollectedEvent> {
    try {
      for (;;) {
        const event = await this.#wait<CollectedEvent | null>(
          "an event",
          {},
          () => this.#take(({ event }) => !CONTROL.has(event)) ?? (this.#isOver ? null : undefined),
        );
        if (event === null) return;
        yield event;
      }
    } finally {
      // Leaving the loop closes the stream, as with other async iterators.
      await this.close();
    }
  }

  close(): Promise<void> {
    this.#cancel();
    return this.#reading;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #read(chunks: AsyncIterable<Uint8Array | string>): Promise<void> {
    const decoder = new TextDecoder();
    const parser = createParser({ onEvent: (message) => this.#add(message) });
    let before = "\n";
    try {
      for await (const chunk of chunks) {
        const text = typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true });
        if (this.#head.length < MAX_SHOWN) this.#head += text.slice(0, MAX_SHOWN);
        if (text === "") continue;
        // The parser skips a block without data, but its id is needed. So each block gets an extra data line.
        parser.feed((before + text).replaceAll(BEFORE_BLANK_LINE, "data:\n").slice(1));
        before = text.at(-1)!;
      }
    } catch {
      // The connection was lost, or close() was called. Both end the stream.
    }
    this.#isOver = true;
    this.#look();
  }

  #add({ event = "message", data: marked, id }: EventSourceMessage): void {
    this.lastEventId = id ?? this.lastEventId;
    if (marked === "") return this.#look();
    const text = marked.slice(0, -1);
    const received: CollectedEvent = { event, data: parse(text), text, id };
    (CONTROL.has(event) ? this.control : this.events).push(received);
    this.#all.push(received);
    this.#untaken.add(received);
    this.#look();
  }

  #look(): void {
    for (const look of Array.from(this.#waits)) look();
  }

  #take<Data>(isWanted: (event: CollectedEvent) => boolean): CollectedEvent<Data> | undefined {
    for (const event of this.#untaken) {
      if (!isWanted(event)) continue;
      this.#untaken.delete(event);
      return event as CollectedEvent<Data>;
    }
    return undefined;
  }

  async #wait<T>(
    what: string,
    options: WaitOptions = {},
    find: () => T | undefined,
  ): Promise<Exclude<T, undefined>> {
    assertOptions("the wait", options, WAIT_OPTIONS);
    const { timeoutMs = this.#timeoutMs } = options;
    assertTimeout(timeoutMs);
    return new Promise((resolve, reject) => {
      const finish = (how: () => void): void => {
        clearTimeout(timer);
        this.#waits.delete(look);
        how();
      };
      const look = (): void => {
        const found = find();
        if (found !== undefined) finish(() => resolve(found as Exclude<T, undefined>));
        else if (this.#isOver) finish(() => reject(this.#notReceived(`The stream ended before ${what}`)));
      };
      const timer = setTimeout(
        () =>
          finish(() => reject(this.#notReceived(`Timeout after ${timeoutMs} ms while waiting for ${what}`))),
        timeoutMs,
      );
      this.#waits.add(look);
      look();
    });
  }

  #notReceived(problem: string): RedisSseError {
    const status = this.status === null ? "" : ` The status is ${this.status}.`;
    return new RedisSseError("NOT_RECEIVED", `${problem}.${status} ${this.#describe()}`);
  }

  #describe(): string {
    const all = this.#all;
    if (all.length === 0) {
      return this.#head === "" ? "Nothing has arrived." : `No event has arrived, only: ${this.#head}`;
    }
    const shown = all
      .slice(-MAX_SHOWN_EVENTS)
      .map(({ event, text }) => `${event} ${text.slice(0, MAX_SHOWN)}`);
    if (all.length > shown.length) shown.unshift(`${all.length - shown.length} earlier events`);
    return `Arrived so far: ${shown.join("; ")}`;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function assertTimeout(timeoutMs: unknown): void {
  if (typeof timeoutMs === "number" && timeoutMs > 0 && timeoutMs < 2 ** 31) return;
  throw optionError("timeoutMs as a number of milliseconds above 0", timeoutMs);
}
