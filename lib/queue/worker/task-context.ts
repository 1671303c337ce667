import { RedisSseError } from "../../errors.js";
import { encodeJson, isLargerThan } from "../../serialize.js";
import { fitsInEvent, maxFrameBytes } from "../../text-splitter.js";
import { MAX_MESSAGE } from "../task.js";
import type { AnyTasks, TaskMap, TaskOf } from "../task-map.js";

/** The argument of a handler. You can destructure it: `({ task, progress }) => ...`. */
export interface TaskContext<Tasks extends TaskMap = AnyTasks> {
  /** The task, as it was when the attempt started. */
  readonly task: TaskOf<Tasks>;
  /** Attempt number, starting at 1. */
  readonly attempt: number;
  /**
   * Aborts when the attempt no longer counts. Then stop your work.
   *
   * `signal.reason` is an error. Its `code` gives the reason:
   *
   * - `CANCELLED`: the task was cancelled
   * - `LEASE_LOST`: the lease expired
   * - `TIMEOUT`: the attempt exceeded its `timeoutMs`
   * - `CLOSED`: the worker is stopping
   * - `ABORTED`: the attempt has ended
   */
  readonly signal: AbortSignal;
  /**
   * Reports progress on `task_progress:{taskId}`: a number from 0 to 100, or an object.
   *
   * The fields `progress` and `message` of an object are the percentage and the message. Both are optional. Clients get
   * the whole object as `data`. An event is sent at most every `progressMs`, with the newest report. The last report is
   * always sent.
   *
   * The promise resolves when this report or a newer one is sent, or when the attempt has ended. If Redis is
   * unavailable, the worker tries again.
   *
   * A number out of range is limited to 0 to 100. `NaN` keeps the previous percentage. A message is cut after 1,000
   * characters. The log gets one warning. Rejects with `INVALID_TASK` for an argument of another type, and with
   * `UNSERIALIZABLE` or `TASK_TOO_LARGE` for the object.
   */
  readonly progress: (progress: number | object, message?: string) => Promise<void>;
  /**
   * Writes a piece of the task's output, as an event `chunk` on the same channel. Text is sent unchanged, any other
   * value as JSON.
   *
   * Chunks are stored in order, each once. Clients that connect later get them too. The promise resolves when the chunk
   * is stored. Await it: if more than a million characters wait to be stored, the call rejects with `WRITER_OVERFLOW`.
   * Also rejects with `TASK_TOO_LARGE` or `UNSERIALIZABLE` for the chunk, and with `ABORTED` after the attempt has
   * ended.
   *
   * Clients get the same text, however you cut it into chunks. A CR or half of a character at the end of a chunk is
   * stored with the next text. Without further text it is stored before the next chunk of another type, or when the
   * handler ends.
   */
  readonly write: (chunk: unknown) => Promise<void>;
  /**
   * Writes a line of the task's log, as an event `log` on the same channel. Like `write()`, but at most 10,000
   * characters.
   */
  readonly log: (line: string) => Promise<void>;
}

const MAX_LINE = 10_000;

export interface ReportedProgress {
  readonly progress: number;
  readonly message: string;
  /** As JSON. Empty if no object was given. */
  readonly data: string;
}

/** Checks a progress report. Throws `INVALID_TASK`, `UNSERIALIZABLE` or `TASK_TOO_LARGE`. */
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
 * Checks a progress report of a handler. Throws like `readProgress()` for a wrong type.
 *
 * A number or message out of range is limited, because a rounding error must not fail the task. `warn` gets a
 * description of the value.
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

/** Cuts a text to a length. It does not leave half of a surrogate pair at the end. */
function cutText(text: string, maxLength: number): string {
  return text.slice(0, maxLength).replace(/[\ud800-\udbff]$/, "");
}

/**
 * Checks an argument of `write()`, and returns it as the data of an event. Throws `TASK_TOO_LARGE` or `UNSERIALIZABLE`.
 */
export function readChunk(chunk: unknown, maxBytes: number): string {
  if (typeof chunk !== "string") return boundedJson(chunk, "a chunk", maxBytes);
  assertText(chunk, "chunk", maxBytes);
  return chunk;
}

/** Checks an argument of `log()`. Throws `INVALID_TASK` or `TASK_TOO_LARGE`. */
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
    `This ${what} has too many line breaks: its event would exceed ${maxFrameBytes(maxBytes)} bytes. Write it in smaller pieces.`,
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
