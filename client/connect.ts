import { Backoff } from "./backoff.js";
import type { EventDefinitions, EventMap, EventSchemas, EventsOf } from "./define-events.js";
import { createFetchSource, type FetchOptions } from "./fetch-source.js";
import { isHidden, readStored, watchPage, writeStored } from "./page.js";
import type { StreamMessage } from "./parser.js";
import { parseObject, readMessage, type Gap, type Message } from "./message.js";
import { MessageQueue } from "./message-queue.js";
import type { Source, SourceEnd } from "./source.js";
import type { Status } from "./status.js";

/** Options of `connect()`. */
export interface ConnectOptions<Schemas extends EventSchemas = EventSchemas> extends FetchOptions {
  /** The events of the stream. Data that does not match its schema is not delivered, and `onGap` is called with "invalid". */
  readonly events?: EventDefinitions<Schemas> | undefined;
  /** The id after which the stream starts, for example from the page that the server rendered. */
  readonly lastEventId?: string | undefined;
  /**
   * Where the id of the last event is kept. With "session", it is in `sessionStorage`, so that the stream goes on after a reload.
   *
   * @defaultValue "memory"
   */
  readonly keepId?: "memory" | "session" | undefined;
  /**
   * Milliseconds after which a hidden page pauses its stream. When a person sees the page, it catches up.
   *
   * @defaultValue never
   */
  readonly pauseHiddenAfterMs?: number | undefined;
  /**
   * The longest wait between two tries during a long outage, in milliseconds. In the first minute it is 3 s.
   *
   * @defaultValue 30_000
   */
  readonly maxRetryMs?: number | undefined;
  /** Closes the stream. */
  readonly signal?: AbortSignal | undefined;
}

/** A stream that stays connected until it is closed. */
export interface StreamConnection<Events extends EventMap = EventMap> extends AsyncIterable<Message> {
  /** The present state. */
  readonly status: Status;
  /** The id of the last event. Empty before the first. */
  readonly lastEventId: string;
  /** Calls `handler` for each event of this type. Returns a function that removes the handler. */
  on<Name extends keyof Events & string>(
    event: Name,
    handler: (data: Events[Name], message: Message) => void,
  ): () => void;
  /** Calls `handler` when events were lost: load the present state again. Returns a function that removes the handler. */
  onGap(handler: (gap: Gap) => void): () => void;
  /** Calls `handler` at each change of the status. Returns a function that removes the handler. */
  onStatus(handler: (status: Status) => void): () => void;
  /** Ends the stream. It cannot be opened again. */
  close(): void;
}

/** Until the server sends the first event. Its resolver may take 10 s, and Redis 5 s. */
const OPENING_MS = 20_000;
/** A connection that is silent for so many heartbeats is dead. */
const SILENT_HEARTBEATS = 2.5;
/** After a sleep, it is dead after so many. */
const WAKING_HEARTBEATS = 1.1;

const CONNECTING: Status = { state: "connecting" };

/** A gap that the client itself found. */
const INVALID: Gap = { reason: "invalid", channels: [] };

/** After these reasons, the stream has no more events. */
const ENDED: ReadonlySet<string> = new Set(["completed", "broken"]);

/**
 * Opens a stream and keeps it open: it reconnects for ever, goes on after the last event that it got, finds dead connections, and
 * tells its status. It ends when you close it, when the stream is complete, or when the server refuses it.
 */
export function connect<Schemas extends EventSchemas>(
  url: string | URL | Source,
  options: ConnectOptions<Schemas> & { readonly events: EventDefinitions<Schemas> },
): StreamConnection<EventsOf<Schemas>>;
export function connect<Events extends EventMap = EventMap>(
  url: string | URL | Source,
  options?: ConnectOptions,
): StreamConnection<Events>;
export function connect(url: string | URL | Source, options: ConnectOptions = {}): StreamConnection {
  const source = typeof url === "string" || url instanceof URL ? createFetchSource(url, options) : url;
  return new Connection(source, options);
}

type Handler<Value extends readonly unknown[]> = (...values: Value) => void;

class Connection implements StreamConnection {
  readonly #source: Source;
  readonly #options: ConnectOptions;
  readonly #backoff: Backoff;
  readonly #handlers = new Map<string, Set<Handler<[data: never, message: Message]>>>();
  readonly #gapHandlers = new Set<Handler<[Gap]>>();
  readonly #statusHandlers = new Set<Handler<[Status]>>();
  readonly #queues = new Set<MessageQueue>();
  readonly #unwatch: () => void;
  #status: Status = CONNECTING;
  #lastEventId: string;
  /** Aborts the present connection. Also identifies it: a connection that was given up can still tell something. */
  #attempt: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #hiddenTimer: ReturnType<typeof setTimeout> | undefined;
  /** When something last arrived, as `Date.now()`, which counts the time of a sleep too. */
  #heardAt = 0;
  /** The longest silence of a live connection; `null` if the server sends no heartbeats. */
  #heartbeatMs: number | null = null;
  #isRefused = false;
  /** Why the server ends the stream, or could not open it. */
  #told: string | null = null;

  constructor(source: Source, options: ConnectOptions) {
    this.#source = source;
    this.#options = options;
    this.#backoff = new Backoff(options.maxRetryMs ?? 30_000);
    const kept = options.keepId === "session" ? readStored(this.#storageName) : "";
    this.#lastEventId = kept || (options.lastEventId ?? "");
    this.#unwatch = watchPage({
      onWake: () => this.#wake(),
      onOffline: () => this.#isLive && this.#giveUp({ reason: "offline", isFinal: false }),
      onOnline: () => this.#isTrying && this.#connect(),
      onHidden: () => this.#hide(),
      onVisible: () => this.#show(),
      onStored: () => this.#isTrying && this.#pause("page-cache"),
      onRestored: () => this.#status.state === "paused" && this.#connect(),
    });
    const { signal } = options;
    signal?.addEventListener("abort", this.#onAbort, { once: true });
    if (signal?.aborted) this.close();
    else this.#connect();
    if (isHidden()) this.#hide();
  }

  get status(): Status {
    return this.#status;
  }

  get lastEventId(): string {
    return this.#lastEventId;
  }

  on(event: string, handler: Handler<[data: never, message: Message]>): () => void {
    let handlers = this.#handlers.get(event);
    if (handlers === undefined) this.#handlers.set(event, (handlers = new Set()));
    return add(handlers, handler);
  }

  onGap(handler: (gap: Gap) => void): () => void {
    return add(this.#gapHandlers, handler);
  }

  onStatus(handler: (status: Status) => void): () => void {
    return add(this.#statusHandlers, handler);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined> {
    const queue = new MessageQueue();
    if (this.#status.state === "closed") return;
    this.#queues.add(queue);
    try {
      yield* queue.messages();
    } finally {
      this.#queues.delete(queue);
      queue.end();
    }
  }

  close(): void {
    this.#close("app");
  }

  readonly #onAbort = (): void => this.close();

  #close(reason: string): void {
    if (this.#status.state === "closed") return;
    this.#stop();
    this.#unwatch();
    clearTimeout(this.#hiddenTimer);
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    this.#setStatus({ state: "closed", reason });
    for (const queue of this.#queues) queue.end();
  }

  /** Gives up the present connection and all waits. */
  #stop(): void {
    clearTimeout(this.#timer);
    const attempt = this.#attempt;
    this.#attempt = null;
    attempt?.abort();
  }

  #connect(): void {
    this.#stop();
    const attempt = new AbortController();
    this.#attempt = attempt;
    this.#told = null;
    this.#heartbeatMs = null;
    this.#heardAt = Date.now();
    this.#setStatus(CONNECTING);
    // A handler of the status may have closed the stream.
    if (this.#attempt !== attempt) return;
    this.#watch();
    const isCurrent = (): boolean => this.#attempt === attempt;
    const request = { lastEventId: this.#lastEventId, isRefused: this.#isRefused, signal: attempt.signal };
    const listener = {
      onActivity: () => void (this.#heardAt = Date.now()),
      onMessage: (message: StreamMessage) => isCurrent() && this.#receive(message),
      onRetry: (retryMs: number) => isCurrent() && (this.#backoff.retryMs = retryMs),
      ready: () => this.#ready(),
    };
    void this.#source.open(request, listener).then((end) => isCurrent() && this.#ended(end));
  }

  #ended(end: SourceEnd): void {
    if (end.reason === "unauthorized" && !end.isFinal && !this.#isRefused) {
      this.#isRefused = true;
      return this.#connect();
    }
    this.#giveUp(end);
  }

  /** Closes the stream, or waits for the next try. */
  #giveUp({ reason: cause, isFinal, retryAfterMs }: SourceEnd): void {
    this.#stop();
    const reason = this.#told ?? cause;
    if (isFinal || ENDED.has(reason)) return this.#close(reason);
    const now = Date.now();
    const waitMs = this.#backoff.next(now, retryAfterMs);
    this.#timer = setTimeout(() => this.#connect(), waitMs);
    this.#setStatus({ state: "waiting", reason, retryAt: now + waitMs });
  }

  #receive(message: StreamMessage): void {
    this.#lastEventId = message.id;
    const { event, text } = message;
    if (event === "") return;
    if (event === "error") return void (this.#told = (parseObject(text) as { code?: string }).code ?? event);
    if (event === "closing")
      return void (this.#told = (parseObject(text) as { reason?: string }).reason ?? event);
    this.#opened(message);
    if (event === "gap") return call(this.#gapHandlers, { ...INVALID, ...parseObject(text) });
    const read = readMessage(message, this.#options.events?.schemas[event]);
    if (read === null) return call(this.#gapHandlers, INVALID);
    for (const queue of this.#queues) queue.add(read);
    call(this.#handlers.get(event), read.data as never, read);
  }

  /** The first event shows that the stream is open. A proxy may send a head long before. */
  #opened({ event, text }: StreamMessage): void {
    if (event === "connected") {
      this.#heartbeatMs = (parseObject(text) as { heartbeatMs?: number | null }).heartbeatMs ?? null;
    }
    if (this.#status.state === "open") return;
    this.#isRefused = false;
    this.#backoff.reset();
    this.#setStatus({ state: "open" });
  }

  /** Called after each piece of the stream. Waits for iterators that are slow. */
  #ready(): Promise<void> | undefined {
    if (this.#options.keepId === "session") writeStored(this.#storageName, this.#lastEventId);
    for (const queue of this.#queues) {
      if (queue.isFull) return queue.drained().then(() => void (this.#heardAt = Date.now()));
    }
    return undefined;
  }

  /** Checks that the connection is not silent for too long. */
  #watch(): void {
    const isOpen = this.#status.state === "open";
    const limitMs = isOpen ? (this.#heartbeatMs ?? Infinity) * SILENT_HEARTBEATS : OPENING_MS;
    const restMs = this.#heardAt + limitMs - Date.now();
    if (restMs <= 0) return this.#silent(isOpen);
    this.#timer = setTimeout(() => this.#watch(), Math.min(restMs, OPENING_MS));
  }

  #silent(wasOpen: boolean): void {
    if (wasOpen) this.#connect();
    else this.#giveUp({ reason: "silent", isFinal: false });
  }

  get #isLive(): boolean {
    return this.#attempt !== null;
  }

  get #isTrying(): boolean {
    return this.#status.state !== "closed" && this.#status.state !== "paused";
  }

  #wake(): void {
    if (this.#status.state === "waiting") return this.#connect();
    if (this.#status.state !== "open" || this.#heartbeatMs === null) return;
    if (Date.now() - this.#heardAt > this.#heartbeatMs * WAKING_HEARTBEATS) this.#connect();
  }

  #hide(): void {
    const { pauseHiddenAfterMs } = this.#options;
    if (pauseHiddenAfterMs === undefined) return;
    clearTimeout(this.#hiddenTimer);
    this.#hiddenTimer = setTimeout(() => this.#isTrying && this.#pause("hidden"), pauseHiddenAfterMs);
  }

  #show(): void {
    clearTimeout(this.#hiddenTimer);
    if (this.#status.state === "paused") this.#connect();
    else this.#wake();
  }

  #pause(reason: "hidden" | "page-cache"): void {
    this.#stop();
    this.#setStatus({ state: "paused", reason });
  }

  #setStatus(status: Status): void {
    if (status.state === this.#status.state && status.state === "connecting" && this.#attempt === null)
      return;
    this.#status = status;
    call(this.#statusHandlers, status);
  }

  get #storageName(): string {
    return `redis-sse:${this.#source.name}`;
  }
}

function add<Item>(items: Set<Item>, item: Item): () => void {
  items.add(item);
  return () => void items.delete(item);
}

/** Calls each handler. An error of one handler is reported like an error of an event listener, and the others are called. */
function call<Values extends readonly unknown[]>(
  handlers: ReadonlySet<Handler<Values>> | undefined,
  ...values: Values
): void {
  for (const handler of handlers ?? []) {
    try {
      handler(...values);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}
