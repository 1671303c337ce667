import { monotonicNow, type Clock } from "../clock.js";
import { delay } from "../deadline.js";
import { RedisSseError, sanitize } from "../errors.js";
import { createLog, printable } from "../log.js";
import { fitsInEvent, maxFrameBytes, TextSplitter } from "../text-splitter.js";
import { assertOptions, optionError, readMilliseconds, readWholeNumber } from "../validate.js";
import type { Ending, LeaseStatus } from "./history-scripts.js";
import { channelRefusal, type LoggedEvent, type LogOptions } from "./log-publisher.js";

/** Options of `writer()`. */
export interface WriterOptions {
  /**
   * The type of the events that carry the chunks.
   *
   * @defaultValue "message"
   */
  readonly event?: string;
  /**
   * Milliseconds for which small chunks are combined into one event.
   *
   * @defaultValue 20
   */
  readonly flushMs?: number;
  /**
   * Bytes of combined chunks that are sent without waiting for `flushMs`.
   *
   * @defaultValue 16_384 (16 KiB)
   */
  readonly maxBatchBytes?: number;
  /**
   * Length of the writer's lease, in milliseconds. If the process crashes, the lease expires, and the stream ends as broken.
   *
   * @defaultValue 30_000
   */
  readonly leaseMs?: number;
  /** Aborts the stream, as `abort()` does. */
  readonly signal?: AbortSignal;
}

/** The last event of a stream, in the form that `publish()` accepts. */
export interface WriterMessage {
  /**
   * The type of the event: at most 256 bytes.
   *
   * @defaultValue "message"
   */
  readonly event?: string | undefined;
  /** The data. A string is sent unchanged, any other value as JSON. */
  readonly data: unknown;
}

/** The parts of the service that a writer uses. */
export interface WriterPort {
  readonly clock: Clock;
  readonly maxEventBytes: number;
  /** Maximum number of events that a client gets by replay. A stream must not have more events. */
  readonly maxEvents: number;
  renew(leaseMs: number): Promise<LeaseStatus>;
  publish(event: LoggedEvent, options: LogOptions): Promise<unknown>;
  /** Checks an event, and converts its data to text. Throws `INVALID_EVENT`, `UNSERIALIZABLE` or `EVENT_TOO_LARGE`. */
  serialize(message: WriterMessage): LoggedEvent;
  /** The token of the lease. */
  readonly token: string;
}

const log = createLog("history");

const DEFAULTS = { flushMs: 20, maxBatchBytes: 16 * 1024, leaseMs: 30_000 };
const KNOWN: ReadonlySet<string> = new Set<keyof WriterOptions>([
  "event",
  "flushMs",
  "maxBatchBytes",
  "leaseMs",
  "signal",
]);

/** With more waiting batches, `write()` waits until there is room. With ten times as many, it rejects. */
const ROOM_BATCHES = 4;
const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 2_000;

function aborted(): RedisSseError {
  return new RedisSseError("ABORTED", "This stream was aborted.");
}

/** Ends the channel without an event for the clients. */
const END: LoggedEvent = { event: undefined, data: "" };

export function readWriterOptions(options: WriterOptions): Required<Omit<WriterOptions, "event" | "signal">> {
  assertOptions("writer()", options, KNOWN);
  if (options.signal !== undefined && !(options.signal instanceof AbortSignal)) {
    throw optionError("signal as an AbortSignal", options.signal);
  }
  return {
    flushMs: readMilliseconds("flushMs", options.flushMs ?? DEFAULTS.flushMs, 0),
    maxBatchBytes: readWholeNumber("maxBatchBytes", options.maxBatchBytes ?? DEFAULTS.maxBatchBytes, 1),
    leaseMs: readMilliseconds("leaseMs", options.leaseMs ?? DEFAULTS.leaseMs, 100),
  };
}

/**
 * Writes one channel from beginning to end in chunks, for example the tokens of a language model.
 *
 * Each client gets the whole channel, no matter when it connects, and to which process. Each chunk is stored once, even if Redis is
 * unavailable for a while. If the process of the writer crashes, the clients get an `error` event and the stream ends.
 */
export class StreamWriter {
  /** The channel of this writer. */
  readonly channel: string;
  readonly #port: WriterPort;
  readonly #event: string | undefined;
  readonly #settings: ReturnType<typeof readWriterOptions>;
  readonly #stopping = new AbortController();
  readonly #onEnd: () => void;
  #chunks: string[] = [];
  #bytes = 0;
  readonly #splitter: TextSplitter;
  #sequence = 0;
  #fault: RedisSseError | null = null;
  #aborted = false;
  #ending: Promise<void> | null = null;
  #pump: Promise<void> | null = null;
  #hurry: (() => void) | null = null;
  #waiting: (() => void)[] = [];
  #cancelRenewal: () => void = () => {};

  /** `RedisSse.writer()` calls it. */
  constructor(
    channel: string,
    port: WriterPort,
    event: string | undefined,
    settings: ReturnType<typeof readWriterOptions>,
    onEnd: () => void,
  ) {
    this.channel = channel;
    this.#port = port;
    this.#event = event;
    this.#settings = settings;
    this.#onEnd = onEnd;
    this.#splitter = new TextSplitter(port.maxEventBytes);
    this.#scheduleRenewal();
  }

  /** Whether the writer accepts no more chunks, because it was ended or aborted, or lost its channel. */
  get closed(): boolean {
    return this.#ending !== null || this.#fault !== null;
  }

  /**
   * Writes a chunk. Resolves when there is room for the next chunk.
   *
   * Chunks that are written within `flushMs` are combined into one event. Clients get the same text for any division into chunks. A CR
   * or half of a character at the end of a chunk is sent with the next chunk, or when the stream ends.
   *
   * A chunk has at most `limits.maxEventBytes`. On the wire it takes at most four times that, because each line needs 7 more bytes.
   *
   * Rejects with one of these errors:
   *
   * - `INVALID_EVENT` or `EVENT_TOO_LARGE`: the chunk is not a string, or too large.
   * - `WRITER_OVERFLOW`: too much data is buffered. Await each `write()`.
   * - After the end of the stream: the error that ended it, `COMPLETED` or `ABORTED`.
   */
  async write(chunk: string): Promise<void> {
    if (typeof chunk !== "string") {
      throw new RedisSseError("INVALID_EVENT", `expected a chunk as a string, got ${typeof chunk}`);
    }
    this.#assertOpen();
    const bytes = Buffer.byteLength(chunk);
    this.#assertSize(chunk, bytes);
    const room = Math.max(this.#settings.maxBatchBytes, bytes) * ROOM_BATCHES;
    if (this.#bytes + bytes > 10 * room) {
      throw new RedisSseError(
        "WRITER_OVERFLOW",
        "Too much data of this writer is buffered. Await each write().",
      );
    }
    if (bytes === 0) return;
    this.#chunks.push(chunk);
    this.#bytes += bytes;
    if (this.#bytes >= this.#settings.maxBatchBytes) this.#hurry?.();
    void this.#start();
    while (this.#bytes > room && this.#fault === null) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    if (this.#fault !== null) throw this.#fault;
  }

  /**
   * Writes all buffered chunks and completes the channel, so that its streams end. `message` is an optional last event.
   *
   * If `message` is invalid, it rejects with `INVALID_EVENT`, `UNSERIALIZABLE` or `EVENT_TOO_LARGE`, and the stream continues. Otherwise
   * it rejects with the error that prevented the end. A second call has the same result as the first call.
   */
  async end(message?: WriterMessage): Promise<void> {
    if (this.#aborted) throw aborted();
    if (this.#ending === null) {
      const last = message === undefined ? END : this.#port.serialize(message);
      this.#ending = this.#finish("completed", last);
    }
    return this.#ending;
  }

  /**
   * Aborts the stream. Clients get all chunks that were written and an `error` event. Then the stream ends.
   *
   * If Redis is unavailable for longer than the lease, the stream ends as broken as soon as a client reads it. Never rejects.
   */
  async abort(): Promise<void> {
    if (this.#ending === null && this.#fault === null) {
      this.#aborted = true;
      this.#ending = this.#finish("broken", END);
    }
    await this.#ending?.catch((error: unknown) => log("abort: %s", sanitize(error).message));
  }

  /** For `await using`. Aborts the stream if `end()` was not called. Never rejects. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.abort();
  }

  /** Stops immediately. When the lease expires, a reader marks the channel as broken. */
  drop(): void {
    this.#fail(new RedisSseError("CLOSED", "this service is closed"));
  }

  async #finish(ending: Ending, last: LoggedEvent): Promise<void> {
    try {
      this.#hurry?.();
      // Chunks that arrived during the last batch need another one.
      while (this.#pump !== null) await this.#pump;
      // A last run sends the text that was held back.
      await this.#start();
      if (this.#fault !== null && ending === "completed") throw this.#fault;
      await this.#publish(last, ending);
    } finally {
      this.#over();
    }
  }

  #start(): Promise<void> {
    this.#pump ??= this.#run().finally(() => {
      this.#pump = null;
      if (this.#chunks.length > 0 && this.#fault === null) void this.#start();
    });
    return this.#pump;
  }

  /** Sends the batches one after another. Never rejects. */
  async #run(): Promise<void> {
    try {
      // `#start()` must assign `#pump` before this can finish.
      await Promise.resolve();
      while (this.#chunks.length > 0 && this.#fault === null) {
        await this.#gather();
        await this.#publishAll(this.#take());
      }
      if (this.#ending !== null && this.#fault === null) await this.#publishAll(this.#splitter.end());
    } catch (error) {
      const fault = sanitize(error);
      // End the channel now, so that clients do not wait until the lease expires. If Redis lost the lease, it would never expire.
      if (fault.code === "STREAM_TOO_LONG" || fault.code === "STREAM_LOST") {
        await this.#publish(END, "broken").catch(() =>
          this.#port.publish(END, { ending: "broken" }).catch(() => {}),
        );
      }
      this.#fail(fault);
    }
  }

  /** Waits up to `flushMs` for more chunks, if the batch is not full and the stream does not end. */
  async #gather(): Promise<void> {
    const { flushMs, maxBatchBytes } = this.#settings;
    if (this.#bytes >= maxBatchBytes || this.#ending !== null) return;
    const hurry = new AbortController();
    this.#hurry = () => hurry.abort();
    await delay(this.#port.clock, flushMs, AbortSignal.any([hurry.signal, this.#stopping.signal]));
    this.#hurry = null;
  }

  /** Removes the next chunks from the buffer. Returns them as pieces that fit in an event. */
  #take(): readonly string[] {
    const { maxBatchBytes } = this.#settings;
    const limit = Math.min(maxBatchBytes, this.#port.maxEventBytes);
    let bytes = 0;
    let count = 0;
    for (const chunk of this.#chunks) {
      const size = Buffer.byteLength(chunk);
      if (count > 0 && bytes + size > limit) break;
      bytes += size;
      count++;
    }
    const taken = this.#chunks.splice(0, count).join("");
    this.#bytes -= bytes;
    this.#wake();
    return this.#splitter.push(taken);
  }

  async #publishAll(pieces: readonly string[]): Promise<void> {
    for (const data of pieces) await this.#publish({ event: this.#event, data });
  }

  /** Publishes an event. After a retryable error it tries again, until the lease can have expired. */
  async #publish(event: LoggedEvent, ending?: Ending): Promise<void> {
    const { clock, token, maxEvents } = this.#port;
    if (ending === undefined && this.#sequence + 1 >= maxEvents) {
      throw new RedisSseError(
        "STREAM_TOO_LONG",
        `This stream would exceed ${maxEvents} events (limits.maxReplayEvents). Write larger chunks, or raise the limit.`,
      );
    }
    const sequence = ++this.#sequence;
    const options: LogOptions = {
      writer: token,
      identity: { producer: token, sequence },
      maxLength: maxEvents,
      finite: true,
      ...(ending !== undefined && { ending }),
    };
    const until = monotonicNow(clock) + this.#settings.leaseMs;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
      try {
        await this.#port.publish(event, options);
        return;
      } catch (error) {
        const fault = sanitize(error);
        if (!fault.retryable || monotonicNow(clock) > until || this.#stopping.signal.aborted) throw fault;
      }
      await delay(clock, pauseMs, this.#stopping.signal);
    }
  }

  #scheduleRenewal(): void {
    const { leaseMs } = this.#settings;
    this.#cancelRenewal = this.#port.clock.schedule(() => void this.#renew(leaseMs), leaseMs / 3);
  }

  async #renew(leaseMs: number): Promise<void> {
    try {
      const status = await this.#port.renew(leaseMs);
      if (status !== "ok" && this.#ending === null) return this.#fail(channelRefusal(status));
    } catch (error) {
      const fault = sanitize(error);
      log("cannot renew the lease of %s: %s", printable(this.channel), fault.message);
      if (fault.code === "CLOSED") return this.#fail(fault);
    }
    if (!this.#stopping.signal.aborted) this.#scheduleRenewal();
  }

  #fail(fault: RedisSseError): void {
    if (this.#fault === null && !this.#stopping.signal.aborted) this.#fault = fault;
    this.#chunks = [];
    this.#bytes = 0;
    this.#over();
  }

  #over(): void {
    if (this.#stopping.signal.aborted) return;
    this.#stopping.abort();
    this.#cancelRenewal();
    this.#wake();
    this.#onEnd();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #assertSize(chunk: string, bytes: number): void {
    const { maxEventBytes } = this.#port;
    if (bytes > maxEventBytes) {
      throw new RedisSseError(
        "EVENT_TOO_LARGE",
        `This chunk has ${bytes} bytes, more than ${maxEventBytes} (limits.maxEventBytes). Write it in smaller chunks.`,
      );
    }
    if (fitsInEvent(chunk, maxEventBytes)) return;
    throw new RedisSseError(
      "EVENT_TOO_LARGE",
      `This chunk has too many lines: its event would exceed ${maxFrameBytes(maxEventBytes)} bytes. Write it in smaller chunks.`,
    );
  }

  #assertOpen(): void {
    if (this.#fault !== null) throw this.#fault;
    if (this.#aborted) throw aborted();
    if (this.#ending !== null)
      throw new RedisSseError("COMPLETED", "This stream has ended: end() was called.");
  }
}
