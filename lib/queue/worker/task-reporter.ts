import { monotonicNow } from "../../clock.js";
import { delay } from "../../deadline.js";
import { RedisSseError, sanitize } from "../../errors.js";
import { createLog } from "../../log.js";
import { TextSplitter } from "../../text-splitter.js";
import type { TaskLease } from "./task-lease.js";
import type { OutputEvent, TaskReport, WorkerPort } from "./worker-port.js";

const log = createLog("worker");

/** Maximum number of characters of one task that wait to be stored. */
const MAX_WAITING = 1024 * 1024;
/** Each waiting event counts as its data and this number of characters, so that empty events are limited too. */
const EVENT_OVERHEAD = 128;
/** Number of events in one call of the script. */
const MAX_EVENTS = 100;
/** Pause after a failed try to store a report. */
const FAULT_PAUSE_MS = 200;

interface Progress {
  readonly progress: number;
  readonly message: string;
  readonly data: string;
}

/** Reports that wait to be sent together. `sent` settles when they are stored, or will never be stored. */
interface Batch {
  progress: Progress | null;
  output: OutputEvent[];
  length: number;
  readonly sent: Promise<void>;
  readonly settle: (fault: RedisSseError | null) => void;
}

/**
 * Sends the progress and output of an attempt to Redis.
 *
 * - Progress is sent at most once every `progressMs`, and only the newest report.
 * - Output is sent completely and in order. Chunks of text that wait at the same time are joined.
 * - Only one report is sent at a time. If Redis is unavailable, it is sent again until Redis has stored it.
 */
export class TaskReporter {
  readonly #port: WorkerPort;
  readonly #lease: TaskLease;
  readonly #signal: AbortSignal;
  readonly #onGone: (isCancelled: boolean) => void;
  readonly #splitter: TextSplitter;
  #batch: Batch | null = null;
  #running: Promise<void> | null = null;
  #skipWindow = new AbortController();
  #overflow: RedisSseError | null = null;
  #reports = 0;
  #sentAt = -Infinity;
  /** The progress of the newest report. */
  progress: number;

  /** `signal` ends all waiting. `onGone` is called if Redis refuses a report because the attempt no longer counts. */
  constructor(
    port: WorkerPort,
    lease: TaskLease,
    signal: AbortSignal,
    onGone: (isCancelled: boolean) => void,
  ) {
    this.#port = port;
    this.#lease = lease;
    this.#signal = signal;
    this.#onGone = onGone;
    this.#splitter = new TextSplitter(port.maxBytes);
    // One listener for all waits. A long attempt would collect many signals if each wait called `AbortSignal.any()`.
    signal.addEventListener("abort", () => this.#hurry(), { once: true });
    this.progress = lease.task.progress;
  }

  /** Reports progress. Resolves when this or a newer report is sent, or when none can be sent any more. */
  report(progress: Progress): Promise<void> {
    if (this.#signal.aborted) return Promise.resolve();
    this.progress = progress.progress;
    const batch = this.#open();
    batch.progress = progress;
    // The batch rejects only for its output, and `write()` reports that.
    return batch.sent.catch(() => {});
  }

  /**
   * Writes an output event. Resolves when it is stored, except text that the splitter holds back.
   *
   * Rejects with `WRITER_OVERFLOW` if too many characters wait, and with `ABORTED` if the event will never be stored.
   */
  write(event: OutputEvent): Promise<void> {
    if (this.#signal.aborted) return Promise.reject(gone());
    const waiting = this.#batch?.length ?? 0;
    if (waiting > 0 && waiting + event.data.length + EVENT_OVERHEAD > MAX_WAITING) {
      // All calls share one error object: a handler that does not await `write()` can get this error thousands of
      // times.
      this.#overflow ??= new RedisSseError(
        "WRITER_OVERFLOW",
        `More than ${MAX_WAITING} characters of this task wait to be stored. Await write().`,
      );
      return Promise.reject(this.#overflow);
    }
    const ready = this.#toEvents(event);
    if (ready.length === 0) return Promise.resolve();
    const batch = this.#open();
    for (const each of ready) this.#join(batch, each);
    this.#hurry();
    return batch.sent;
  }

  /** Sends the rest. Resolves when all output is stored or can no longer be stored. Call it after the last output. */
  async flush(): Promise<void> {
    if (!this.#signal.aborted) {
      for (const rest of this.#splitter.end()) this.#join(this.#open(), textEvent(rest));
    }
    this.#hurry();
    while (this.#running !== null) await this.#running;
  }

  /**
   * Returns the events that can be stored now. The splitter can hold back the end of a text.
   *
   * A chunk that is not text releases the held text. A line of the log does not.
   */
  #toEvents(event: OutputEvent): readonly OutputEvent[] {
    if (event.name === "log") return [event];
    if (!event.isText) return [...this.#splitter.end().map(textEvent), event];
    return event.data === "" ? [event] : this.#splitter.push(event.data).map(textEvent);
  }

  /** Ends the wait for `progressMs`. */
  #hurry(): void {
    // A second `abort()` would also create an error object.
    if (!this.#skipWindow.signal.aborted) this.#skipWindow.abort();
  }

  #open(): Batch {
    if (this.#batch !== null) return this.#batch;
    let settle!: Batch["settle"];
    const sent = new Promise<void>((resolve, reject) => {
      settle = (fault) => (fault === null ? resolve() : reject(fault));
    });
    // If no caller awaits the promise, its rejection must not end the process.
    sent.catch(() => {});
    this.#batch = { progress: null, output: [], length: 0, sent, settle };
    this.#skipWindow = new AbortController();
    this.#running ??= this.#run();
    return this.#batch;
  }

  /** Adds an event to a batch. Text that follows text is joined: clients get the same text. */
  #join(batch: Batch, event: OutputEvent): void {
    const { output } = batch;
    const last = output.at(-1);
    batch.length += event.data.length;
    const isText = event.name === "chunk" && last?.name === "chunk";
    if (
      isText &&
      last.isText &&
      event.isText &&
      last.data.length + event.data.length <= this.#port.maxBytes / 4
    ) {
      output[output.length - 1] = { ...last, data: last.data + event.data };
    } else {
      output.push(event);
      batch.length += EVENT_OVERHEAD;
    }
  }

  /** Sends the batches one after the other. Never rejects. */
  async #run(): Promise<void> {
    // All reports of the same tick become one batch.
    await Promise.resolve();
    while (this.#batch !== null) {
      await this.#window(this.#batch);
      const batch = this.#batch;
      this.#batch = null;
      await this.#sendBatch(batch);
    }
    this.#running = null;
  }

  /** Waits until progress may be sent. Output does not wait. */
  async #window({ output }: Batch): Promise<void> {
    const { clock, settings } = this.#port;
    const waitMs = this.#sentAt + settings.progressMs - monotonicNow(clock);
    if (output.length > 0 || waitMs <= 0 || this.#signal.aborted) return;
    const { signal } = this.#skipWindow;
    await delay(clock, waitMs, signal);
  }

  async #sendBatch({ progress, output, settle }: Batch): Promise<void> {
    for (let from = 0; from === 0 || from < output.length; from += MAX_EVENTS) {
      const isLast = from + MAX_EVENTS >= output.length;
      const report = {
        number: ++this.#reports,
        progress: isLast && progress !== null ? progress.progress : null,
        message: progress?.message ?? "",
        data: progress?.data ?? "",
        output: output.slice(from, from + MAX_EVENTS),
      };
      if (!(await this.#send(report))) return settle(output.length > 0 ? gone() : null);
    }
    this.#sentAt = monotonicNow(this.#port.clock);
    settle(null);
  }

  async #send(report: TaskReport): Promise<boolean> {
    while (!this.#signal.aborted) {
      try {
        const reply = await this.#port.report(this.#lease, report);
        if (reply !== "taken") this.#onGone(reply === "cancelled");
        return reply === "taken";
      } catch (error) {
        log("cannot store a report of %s: %s", this.#lease.task.id, sanitize(error).message);
      }
      await delay(this.#port.clock, FAULT_PAUSE_MS, this.#signal);
    }
    return false;
  }
}

function textEvent(data: string): OutputEvent {
  return { name: "chunk", data, isText: true };
}

function gone(): RedisSseError {
  return new RedisSseError("ABORTED", "this attempt is over");
}
