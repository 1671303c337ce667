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
  /** The type of the events that carry the chunks. Default `message`. */
  readonly event?: string;
  /** Milliseconds for which small chunks are gathered into one event. Default 20. */
  readonly flushMs?: number;
  /** Bytes of gathered chunks that go out at once. Default 16 KiB. */
  readonly maxBatchBytes?: number;
  /** Milliseconds of silence after which the writer counts as lost, and its stream as broken. Default 30,000. */
  readonly leaseMs?: number;
  /** Breaks the stream off, as `abort()`. */
  readonly signal?: AbortSignal;
}

/** The last event of a stream, as `publish()` takes it. */
export interface WriterMessage {
  /** The event's type: at most 256 bytes. Default `message`. */
  readonly event?: string | undefined;
  /** The data. A string is sent as it is, any other value as JSON. */
  readonly data: unknown;
}

/** What a writer needs of the service around it. */
export interface WriterPort {
  readonly clock: Clock;
  readonly maxEventBytes: number;
  /** The most events that a reader is sent from a log, and so the most that a stream may have. */
  readonly maxEvents: number;
  renew(leaseMs: number): Promise<LeaseStatus>;
  publish(event: LoggedEvent, options: LogOptions): Promise<unknown>;
  /** Checks a message and makes text of it. Throws `INVALID_EVENT`, `UNSERIALIZABLE` or `EVENT_TOO_LARGE`. */
  serialize(message: WriterMessage): LoggedEvent;
  /** The name under which the lease is held. */
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

/** With so many batches that wait, `write()` takes its time; with ten times as many it refuses. */
const ROOM_BATCHES = 4;
const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 2_000;

function brokenOff(): RedisSseError {
  return new RedisSseError("ABORTED", "this stream was broken off");
}

/** An end that is no event. */
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
 * Writes one channel from its beginning to its end, chunk by chunk: the tokens of a model, the output of a program.
 * Whoever opens the channel, at any time and on any process, gets it whole. A chunk is in the log once, even where
 * Redis was away meanwhile; a writer that is lost leaves a stream that says so.
 */
export class StreamWriter {
  /** The channel that this writer writes. */
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

  /** Made by `RedisSse.writer()`. */
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

  /** Whether it takes no more: ended, aborted, or its channel lost. */
  get closed(): boolean {
    return this.#ending !== null || this.#fault !== null;
  }

  /**
   * Takes a chunk, which goes out with others that come within `flushMs`; resolves when there is room for the
   * next. Rejects with `INVALID_EVENT` or `EVENT_TOO_LARGE` for a chunk that cannot be sent, `WRITER_OVERFLOW`
   * when far more was written than Redis takes, and, once the stream is over, with what ended it.
   *
   * Readers get the same text, however you cut it into chunks. A CR or half of a character at the end of a chunk is sent
   * with the next chunk, or when the stream ends. A chunk has at most `limits.maxEventBytes`. On the wire it takes at
   * most four times that: each line needs 7 bytes more.
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
      throw new RedisSseError("WRITER_OVERFLOW", "expected write() to be awaited: too much waits to be sent");
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
   * Writes what waits, and completes the channel: its streams end. `message` is one last event. Rejects with
   * `INVALID_EVENT`, `UNSERIALIZABLE` or `EVENT_TOO_LARGE` for one that cannot be sent, and then nothing has ended;
   * or with what kept it from being written. A second call returns the first one's promise.
   */
  async end(message?: WriterMessage): Promise<void> {
    if (this.#aborted) throw brokenOff();
    if (this.#ending === null) {
      const last = message === undefined ? END : this.#port.serialize(message);
      this.#ending = this.#finish("completed", last);
    }
    return this.#ending;
  }

  /**
   * Breaks the stream off: its readers get all that was written, an `error` event, and the end. Never rejects; where
   * Redis is away for longer than the lease, the next reader marks the stream as broken.
   */
  async abort(): Promise<void> {
    if (this.#ending === null && this.#fault === null) {
      this.#aborted = true;
      this.#ending = this.#finish("broken", END);
    }
    await this.#ending?.catch((error: unknown) => log("abort: %s", sanitize(error).message));
  }

  /** For `await using`: breaks the stream off, as `abort()`, unless `end()` was called. Never rejects. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.abort();
  }

  /** Gives up at once: the next reader finds the lease run out. */
  drop(): void {
    this.#fail(new RedisSseError("CLOSED", "this service is closed"));
  }

  async #finish(ending: Ending, last: LoggedEvent): Promise<void> {
    try {
      this.#hurry?.();
      // What was written while the last batch was on its way makes another one.
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

  /** Sends batch after batch, one at a time. Never rejects. */
  async #run(): Promise<void> {
    try {
      // Before it assigns what it is kept by, nothing may end it.
      await Promise.resolve();
      while (this.#chunks.length > 0 && this.#fault === null) {
        await this.#gather();
        await this.#publishAll(this.#take());
      }
      if (this.#ending !== null && this.#fault === null) await this.#publishAll(this.#splitter.end());
    } catch (error) {
      const fault = sanitize(error);
      // Its readers need not wait for the lease to run out, nor for ever if Redis has lost the lease as well.
      if (fault.code === "STREAM_TOO_LONG" || fault.code === "STREAM_LOST") {
        await this.#publish(END, "broken").catch(() =>
          this.#port.publish(END, { ending: "broken" }).catch(() => {}),
        );
      }
      this.#fail(fault);
    }
  }

  /** Waits for more, unless there is enough, or an end. */
  async #gather(): Promise<void> {
    const { flushMs, maxBatchBytes } = this.#settings;
    if (this.#bytes >= maxBatchBytes || this.#ending !== null) return;
    const hurry = new AbortController();
    this.#hurry = () => hurry.abort();
    await delay(this.#port.clock, flushMs, AbortSignal.any([hurry.signal, this.#stopping.signal]));
    this.#hurry = null;
  }

  /** Takes the next chunks, and returns them as pieces that fit in an event. */
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

  /** Tries until it is in the log, for as long as the lease may still be ours. */
  async #publish(event: LoggedEvent, ending?: Ending): Promise<void> {
    const { clock, token, maxEvents } = this.#port;
    if (ending === undefined && this.#sequence + 1 >= maxEvents) {
      throw new RedisSseError("STREAM_TOO_LONG", `expected a stream of fewer than ${maxEvents} events`);
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
    if (this.#aborted) throw brokenOff();
    if (this.#ending !== null)
      throw new RedisSseError("COMPLETED", "expected a stream that is open: end() was called");
  }
}
