import { RedisSseError } from "../../errors.js";
import { encodeJson, isLargerThan } from "../../serialize.js";
import { fitsInEvent, maxFrameBytes } from "../../text-splitter.js";
import { MAX_MESSAGE } from "../task.js";
import type { AnyTasks, TaskMap, TaskOf } from "../task-map.js";

/** What a handler gets. Its functions can be taken out of it: `({ task, progress }) => ...`. */
export interface TaskContext<Tasks extends TaskMap = AnyTasks> {
  /** The task, as it was when the attempt began. */
  readonly task: TaskOf<Tasks>;
  /** How often this task has been begun, this time included. */
  readonly attempt: number;
  /**
   * Fires when the attempt is over for the queue, whatever the handler does: the task was cancelled, its lease or its time
   * ran out, or the worker stops. `signal.reason` is an error whose `code` says which: `CANCELLED`, `LEASE_LOST`, `TIMEOUT` or
   * `CLOSED`.
   */
  readonly signal: AbortSignal;
  /**
   * Reports progress on `task_progress:{taskId}`: percent from 0 to 100, or any object, in which `progress` is that
   * percentage and `message` that message, if they are there. Told at most every `progressMs`, as it was last; the last one
   * always. Resolves when it, or a later one, is told; a fault of Redis is logged and no more, since the work itself
   * goes on. A number out of range is limited to 0 to 100, NaN keeps the percentage before it, and a message is cut after
   * 1,000 characters; the worker warns of it once. Rejects with `INVALID_TASK` or `UNSERIALIZABLE` for an argument of another
   * type.
   */
  readonly progress: (progress: number | object, message?: string) => Promise<void>;
  /**
   * Writes a piece of the task's output, as an event `chunk` on the same channel: text as it is, anything else as JSON. In
   * order, each once, kept for who comes later. Resolves when it is stored: await it, so that no more is made than can be
   * stored. Rejects with `WRITER_OVERFLOW` when more than a million characters wait, `TASK_TOO_LARGE`, `UNSERIALIZABLE`, or
   * `ABORTED` when the attempt is over.
   *
   * Readers get the same text, however you cut it into chunks. A CR or half of a character at the end of a chunk is stored
   * with the next text, before the next chunk that is not text, or when the handler ends.
   */
  readonly write: (chunk: unknown) => Promise<void>;
  /** Writes a line of the task's log, as an event `log` on the same channel. As `write()`; at most 10,000 characters. */
  readonly log: (line: string) => Promise<void>;
}

const MAX_LINE = 10_000;

export interface ReportedProgress {
  readonly progress: number;
  readonly message: string;
  /** As JSON; empty for none. */
  readonly data: string;
}

/** Checks what a program reports of a task. Throws `INVALID_TASK` or `UNSERIALIZABLE`. */
export function readProgress(
  given: unknown,
  message: unknown,
  fallback: number,
  maxBytes: number,
): ReportedProgress {
  const report = readTypes(given, message, fallback, maxBytes);
  if (!(report.progress >= 0 && report.progress <= 100)) throw notPercent();
  if (report.message.length > MAX_MESSAGE) throw notMessage();
  return report;
}

/**
 * As `readProgress()`, for a handler: a number or message out of range is limited, because a rounding error must not fail
 * the task. `warn` is called with what was out of range.
 */
export function readHandlerProgress(
  given: unknown,
  message: unknown,
  fallback: number,
  maxBytes: number,
  warn: (what: string) => void,
): ReportedProgress {
  const { progress, message: text, data } = readTypes(given, message, fallback, maxBytes);
  const limited = Number.isNaN(progress) ? fallback : Math.min(Math.max(progress, 0), 100);
  if (limited !== progress) warn(String(progress));
  if (text.length > MAX_MESSAGE) warn(`a message of ${text.length} characters`);
  return { progress: limited, message: cutText(text, MAX_MESSAGE), data };
}

function readTypes(given: unknown, message: unknown, fallback: number, maxBytes: number): ReportedProgress {
  const isObject = typeof given === "object" && given !== null;
  const fields: { readonly progress?: unknown; readonly message?: unknown } = isObject
    ? given
    : { progress: given };
  const { progress = isObject ? fallback : undefined, message: text = message } = fields;
  if (typeof progress !== "number") throw notPercent();
  if (text !== undefined && typeof text !== "string") throw notMessage();
  return { progress, message: text ?? "", data: isObject ? boundedJson(given, "progress", maxBytes) : "" };
}

function notPercent(): RedisSseError {
  return new RedisSseError("INVALID_TASK", "expected progress as a number from 0 to 100");
}

function notMessage(): RedisSseError {
  return new RedisSseError(
    "INVALID_TASK",
    `expected message as a string of at most ${MAX_MESSAGE} characters`,
  );
}

/** The beginning of a text, without half of a character at its end. */
function cutText(text: string, maxLength: number): string {
  return text.slice(0, maxLength).replace(/[\ud800-\udbff]$/, "");
}

/** What `write()` takes, as the data of an event. Throws `TASK_TOO_LARGE` or `UNSERIALIZABLE`. */
export function readChunk(chunk: unknown, maxBytes: number): string {
  if (typeof chunk !== "string") return boundedJson(chunk, "a chunk", maxBytes);
  assertText(chunk, "chunk", maxBytes);
  return chunk;
}

/** Throws `INVALID_TASK` or `TASK_TOO_LARGE`. */
export function readLine(line: unknown, maxBytes: number): string {
  if (typeof line !== "string" || line.length > MAX_LINE) {
    throw new RedisSseError("INVALID_TASK", `expected a line as a string of at most ${MAX_LINE} characters`);
  }
  assertText(line, "line", maxBytes);
  return line;
}

function assertText(text: string, what: string, maxBytes: number): void {
  assertSize(text, `a ${what}`, maxBytes);
  if (fitsInEvent(text, maxBytes)) return;
  throw new RedisSseError(
    "TASK_TOO_LARGE",
    `This ${what} has too many line ends: its event would exceed ${maxFrameBytes(maxBytes)} bytes. Write it in smaller pieces.`,
  );
}

export function boundedJson(value: unknown, what: string, maxBytes: number): string {
  const json = encodeJson(value, what);
  assertSize(json, what, maxBytes);
  return json;
}

function assertSize(text: string, what: string, maxBytes: number): void {
  if (!isLargerThan(text, maxBytes)) return;
  throw new RedisSseError("TASK_TOO_LARGE", `expected ${what} of at most ${maxBytes} bytes`);
}
