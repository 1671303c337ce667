import { Backoff, MAX_TIMER_MS } from "./backoff.js";
import { Handlers } from "./handlers.js";
import { parseObject, readMessage, type Gap, type Message } from "./message.js";
import { MessageQueue } from "./message-queue.js";
import type { ConnectOptions } from "./options.js";
import { isHidden, isOffline, readStored, watchPage, writeStored } from "./page.js";
import type { StreamMessage } from "./parser.js";
import { SilenceWatch } from "./silence-watch.js";
import type { Source, SourceEnd, SourceListener } from "./source.js";
import type { Status } from "./status.js";
import type { StreamConnection } from "./connection-types.js";

const CONNECTING: Status = { state: "connecting" };
const OPEN: Status = { state: "open" };

/** A gap that the client itself found. */
const INVALID: Gap = { reason: "invalid", channels: [] };

/** After these reasons, the stream has no more events. */
const ENDED: ReadonlySet<string> = new Set(["completed", "broken"]);

const CONTROL: ReadonlySet<string> = new Set(["connected", "gap", "error", "closing"]);

/** The members that the client reads from control events. */
interface ControlData {
  readonly heartbeatMs?: unknown;
  readonly code?: string;
  readonly reason?: string;
}

/** Keeps one stream open. `connect()` has checked the options. */
export class Connection implements StreamConnection {
  readonly #source: Source;
  readonly #options: ConnectOptions;
  readonly #backoff: Backoff;
  readonly #handlers = new Map<string, Handlers<[data: never, message: Message]>>();
  readonly #gapHandlers = new Handlers<[Gap]>();
  readonly #statusHandlers = new Handlers<[Status]>();
  readonly #queues = new Set<MessageQueue>();
  readonly #silence = new SilenceWatch(() => this.#silent());
  readonly #unwatch: () => void;
  readonly #onAbort = (): void => this.close();
  #status: Status = CONNECTING;
  #lastEventId: string;
  /** Aborts the present connection. A connection that was given up can still tell something. */
  #attempt: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #hiddenTimer: ReturnType<typeof setTimeout> | undefined;
  #isRefused = false;
  /** Why the server ends the stream, or could not open it. */
  #told: string | null = null;
  /** The server allows no try before this time. */
  #notBefore = 0;
  #isStoring = false;

  constructor(source: Source, options: ConnectOptions) {
    this.#source = source;
    this.#options = options;
    this.#backoff = new Backoff(options.maxRetryMs ?? 30_000);
    const kept = options.keepId === "session" ? readStored(this.#storageName) : "";
    this.#lastEventId = kept || (options.lastEventId ?? "");
    this.#unwatch = watchPage({
      onWake: () => this.#wake(),
      onNetworkChange: () => this.#checkAfterSleep(),
      onOffline: () => this.#attempt !== null && this.#giveUp({ reason: "offline", isFinal: false }),
      onOnline: () => this.#online(),
      onHidden: () => this.#hide(),
      onVisible: () => this.#show(),
      onStored: () => this.#pause("page-cache"),
      onRestored: () => this.#status.state === "paused" && this.#connect(),
    });
    const { signal } = options;
    if (signal?.aborted) this.close();
    else {
      signal?.addEventListener("abort", this.#onAbort);
      this.#connect();
      if (isHidden()) this.#hide();
    }
  }

  get status(): Status {
    return this.#status;
  }

  get lastEventId(): string {
    return this.#lastEventId;
  }

  on(event: string, handler: (data: never, message: Message) => void): () => void {
    let handlers = this.#handlers.get(event);
    if (handlers === undefined) this.#handlers.set(event, (handlers = new Handlers()));
    return handlers.add(handler);
  }

  onGap(handler: (gap: Gap) => void): () => void {
    return this.#gapHandlers.add(handler);
  }

  onStatus(handler: (status: Status) => void): () => void {
    return this.#statusHandlers.add(handler);
  }

  [Symbol.asyncIterator](): MessageQueue {
    const queue = new MessageQueue(() => this.#queues.delete(queue));
    if (this.#status.state === "closed") queue.end();
    else this.#queues.add(queue);
    return queue;
  }

  close(): void {
    this.#close("app");
  }

  #close(reason: string): void {
    if (this.#status.state === "closed") return;
    this.#stop();
    this.#unwatch();
    clearTimeout(this.#hiddenTimer);
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    for (const handlers of [...this.#handlers.values(), this.#gapHandlers]) handlers.clear();
    this.#setStatus({ state: "closed", reason });
    // A handler may have closed the stream, and the next one must not hear the older status.
    this.#statusHandlers.clear();
    for (const queue of this.#queues) queue.end();
    this.#queues.clear();
  }

  /** Gives up the present connection and all waits. */
  #stop(): void {
    clearTimeout(this.#timer);
    this.#silence.stop();
    const attempt = this.#attempt;
    this.#attempt = null;
    attempt?.abort();
  }

  #connect(): void {
    this.#stop();
    const attempt = new AbortController();
    const { signal } = attempt;
    this.#attempt = attempt;
    this.#told = null;
    this.#setStatus(CONNECTING);
    // A handler of the status may have closed the stream.
    if (signal.aborted) return;
    this.#silence.start();
    const listener: SourceListener = {
      onActivity: () => !signal.aborted && this.#silence.heard(),
      onMessage: (message) => !signal.aborted && this.#receive(message),
      onRetry: (retryMs) => !signal.aborted && (this.#backoff.retryMs = retryMs),
      ready: () => (signal.aborted ? undefined : this.#ready(signal)),
    };
    const request = { lastEventId: this.#lastEventId, isRefused: this.#isRefused, signal };
    void this.#source.open(request, listener).then((end) => !signal.aborted && this.#ended(end));
  }

  #ended(end: SourceEnd): void {
    const canRenew = end.reason === "unauthorized" && !end.isFinal && !this.#isRefused;
    this.#isRefused = canRenew;
    if (canRenew) this.#connect();
    else if (end.reason === "network" && isOffline()) this.#giveUp({ reason: "offline", isFinal: false });
    else this.#giveUp(end);
  }

  /** Closes the stream, or waits for the next try. */
  #giveUp({ reason: cause, isFinal, retryAfterMs = 0, error }: SourceEnd): void {
    this.#stop();
    const reason = this.#told ?? cause;
    if (isFinal || ENDED.has(reason)) return this.#close(reason);
    const now = Date.now();
    this.#notBefore = now + retryAfterMs;
    const waitMs = this.#backoff.next(now, retryAfterMs);
    this.#timer = setTimeout(() => this.#connect(), waitMs);
    const why = reason === cause && error !== undefined ? { error } : {};
    this.#setStatus({ state: "waiting", reason, retryAt: Math.round(now + waitMs), ...why });
  }

  #receive(message: StreamMessage): void {
    this.#moveTo(message.id);
    const { event, text } = message;
    if (event === "") return;
    if (CONTROL.has(event)) {
      const data = parseObject(text);
      this.#control(event, data);
      return this.#handlers.get(event)?.call(data as never, { ...message, data });
    }
    this.#opened(null);
    this.#told = null;
    const read = readMessage(message, this.#options.events?.schemas);
    if (read === null) return this.#gapHandlers.call(INVALID);
    for (const queue of this.#queues) queue.add(read);
    this.#handlers.get(event)?.call(read.data as never, read);
  }

  /** Handles an event of redis-sse itself. */
  #control(event: string, data: ControlData): void {
    if (event === "connected") this.#opened(data.heartbeatMs);
    else if (event === "gap") this.#gapHandlers.call({ ...INVALID, ...data });
    else if (event === "closing") this.#told = data.reason ?? event;
    // A stream of several channels goes on after one of them broke off.
    else if (data.code !== "BROKEN") this.#told = data.code ?? event;
  }

  #moveTo(id: string): void {
    if (id === this.#lastEventId) return;
    this.#lastEventId = id;
    if (this.#options.keepId !== "session" || this.#isStoring) return;
    // Once for all events that arrived together.
    this.#isStoring = true;
    queueMicrotask(() => {
      this.#isStoring = false;
      writeStored(this.#storageName, this.#lastEventId);
    });
  }

  /** The first event shows that the stream is open. A proxy may send a head long before. */
  #opened(heartbeatMs: unknown): void {
    if (this.#status === OPEN) return;
    this.#backoff.reset();
    this.#silence.open(heartbeatMs);
    this.#setStatus(OPEN);
  }

  /** Waits for iterators that are slow. The connection is not silent then: the client does not read it. */
  #ready(signal: AbortSignal): Promise<void> | undefined {
    for (const queue of this.#queues) {
      if (!queue.isFull) continue;
      this.#silence.stop();
      return queue.drained().then(() => {
        if (!signal.aborted) this.#silence.resume();
      });
    }
    return undefined;
  }

  #silent(): void {
    if (this.#status === OPEN) this.#connect();
    else this.#giveUp({ reason: "silent", isFinal: false });
  }

  /** The page may have slept. */
  #wake(): void {
    if (this.#status.state === "waiting") this.#tryNow();
    else this.#checkAfterSleep();
  }

  #checkAfterSleep(): void {
    if (this.#status === OPEN && this.#silence.isLate) this.#connect();
  }

  #online(): void {
    if (this.#status.state === "connecting") this.#connect();
    else this.#wake();
  }

  #tryNow(): void {
    if (Date.now() >= this.#notBefore) this.#connect();
  }

  #hide(): void {
    const { pauseHiddenAfterMs } = this.#options;
    if (pauseHiddenAfterMs === undefined) return;
    clearTimeout(this.#hiddenTimer);
    const delayMs = Math.min(pauseHiddenAfterMs, MAX_TIMER_MS);
    this.#hiddenTimer = setTimeout(() => this.#pause("hidden"), delayMs);
  }

  #show(): void {
    clearTimeout(this.#hiddenTimer);
    if (this.#status.state === "paused") this.#connect();
    else this.#wake();
  }

  #pause(reason: "hidden" | "page-cache"): void {
    if (this.#status.state === "paused") return;
    this.#stop();
    this.#setStatus({ state: "paused", reason });
  }

  #setStatus(status: Status): void {
    if (status === this.#status) return;
    this.#status = status;
    this.#statusHandlers.call(status);
  }

  get #storageName(): string {
    return `redis-sse:${this.#source.name}`;
  }
}
