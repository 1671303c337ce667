import { monotonicNow } from "../../clock.js";
import { delay } from "../../deadline.js";
import { RedisSseError, sanitize } from "../../errors.js";
import { createLog } from "../../log.js";
import { TextSplitter } from "../../text-splitter.js";
import type { TaskLease } from "./task-lease.js";
import type { OutputEvent, TaskReport, WorkerPort } from "./worker-port.js";

const log = createLog("worker");

/** What may wait to be told of one task, in characters. */
const MAX_WAITING = 1024 * 1024;
/** What an event takes beside its text: many that are empty are not nothing. */
const EVENT_OVERHEAD = 128;
/** Events in one script. */
const MAX_EVENTS = 100;
/** After a fault of Redis, before the next try. */
const FAULT_PAUSE_MS = 200;

interface Progress {
  readonly progress: number;
  readonly message: string;
  readonly data: string;
}

/** What waits to be told, and who waits for it. */
interface Batch {
  progress: Progress | null;
  output: OutputEvent[];
  length: number;
  readonly told: Promise<void>;
  readonly settle: (fault: RedisSseError | null) => void;
}

/**
 * What an attempt says of itself while it runs. Progress is told at most once in `progressMs`, as it was last; output is
 * told in its order and whole, and pieces of text that come faster than they are stored become one. One report is under
 * way at a time, and is sent again until Redis has it.
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
  #toldAt = -Infinity;
  /** As it was last reported. */
  progress: number;

  /** `signal` ends all waiting; `onGone` is called when the task turns out not to be this attempt's any more. */
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
    // In place of an `AbortSignal.any()` for each wait, of which a long attempt would gather many.
    signal.addEventListener("abort", () => this.#hurry(), { once: true });
    this.progress = lease.task.progress;
  }

  /** Resolves when this, or what was reported after it, is told, or never will be. */
  report(progress: Progress): Promise<void> {
    if (this.#signal.aborted) return Promise.resolve();
    this.progress = progress.progress;
    const batch = this.#open();
    batch.progress = progress;
    // Output that goes with it, and is not stored, is another's matter.
    return batch.told.catch(() => {});
  }

  /**
   * Resolves when the event is stored, without text that the splitter holds back. Rejects with `WRITER_OVERFLOW` if
   * too much waits already, and with `ABORTED` if the event will never be stored.
   */
  write(event: OutputEvent): Promise<void> {
    if (this.#signal.aborted) return Promise.reject(gone());
    const waiting = this.#batch?.length ?? 0;
    if (waiting > 0 && waiting + event.data.length + EVENT_OVERHEAD > MAX_WAITING) {
      // One for all: a handler that does not wait is told so thousands of times.
      this.#overflow ??= new RedisSseError(
        "WRITER_OVERFLOW",
        `expected at most ${MAX_WAITING} characters to wait: await write()`,
      );
      return Promise.reject(this.#overflow);
    }
    const ready = this.#toEvents(event);
    if (ready.length === 0) return Promise.resolve();
    const batch = this.#open();
    for (const each of ready) this.#join(batch, each);
    this.#hurry();
    return batch.told;
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
   * The events that can be stored now. A line of the log does not end the text around it; a chunk that is not text
   * does.
   */
  #toEvents(event: OutputEvent): readonly OutputEvent[] {
    if (event.name === "log") return [event];
    if (!event.isText) return [...this.#splitter.end().map(textEvent), event];
    return event.data === "" ? [event] : this.#splitter.push(event.data).map(textEvent);
  }

  #hurry(): void {
    // Each abort() makes an error of its own, the second one too.
    if (!this.#skipWindow.signal.aborted) this.#skipWindow.abort();
  }

  #open(): Batch {
    if (this.#batch !== null) return this.#batch;
    let settle!: Batch["settle"];
    const told = new Promise<void>((resolve, reject) => {
      settle = (fault) => (fault === null ? resolve() : reject(fault));
    });
    // Who does not wait for it does not want to hear of it.
    told.catch(() => {});
    this.#batch = { progress: null, output: [], length: 0, told, settle };
    this.#skipWindow = new AbortController();
    this.#running ??= this.#run();
    return this.#batch;
  }

  /** Text that follows text is one piece: a reader sees the same. */
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

  /** Never rejects. */
  async #run(): Promise<void> {
    // What is said in one go is one report.
    await Promise.resolve();
    while (this.#batch !== null) {
      await this.#window(this.#batch);
      const batch = this.#batch;
      this.#batch = null;
      await this.#tell(batch);
    }
    this.#running = null;
  }

  async #window({ output }: Batch): Promise<void> {
    const { clock, settings } = this.#port;
    const waitMs = this.#toldAt + settings.progressMs - monotonicNow(clock);
    if (output.length > 0 || waitMs <= 0 || this.#signal.aborted) return;
    const { signal } = this.#skipWindow;
    await delay(clock, waitMs, signal);
  }

  async #tell({ progress, output, settle }: Batch): Promise<void> {
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
    this.#toldAt = monotonicNow(this.#port.clock);
    settle(null);
  }

  async #send(report: TaskReport): Promise<boolean> {
    while (!this.#signal.aborted) {
      try {
        const reply = await this.#port.report(this.#lease, report);
        if (reply !== "taken") this.#onGone(reply === "cancelled");
        return reply === "taken";
      } catch (error) {
        log("cannot tell of %s: %s", this.#lease.task.id, sanitize(error).message);
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
  return new RedisSseError("ABORTED", "this attempt at the task is over");
}
