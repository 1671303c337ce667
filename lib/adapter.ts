/**
 * `redis-sse/adapter`: functions and types for adapters of web frameworks. `docs/adapters.md` explains how to write one.
 *
 * @module redis-sse/adapter
 */

export { serveStream } from "./serve-stream.js";
export type { Sink, SinkListener, StreamRequest } from "./sessions/sink.js";
export type { SinkConnection } from "./peers/dead-peer-detector.js";
export type { EncodedFrames } from "./sse/frame.js";
export { answerTo, COMPLETED_ID, streamHead } from "./sse/http-answer.js";
export type { FaultAnswerOptions, HttpAnswer, StreamHead } from "./sse/http-answer.js";

// Checks of the options of a mount.
export { assertOptions, optionError } from "./validate.js";
export { assertStreamOptions, readKey } from "./sessions/stream-options.js";
export { readReconnectMs } from "./tickets/ticket-service.js";
export type { OnRuleError, RuleFailure } from "./sync-callback.js";

// For streams of tasks.
export { isFinished, progressOf } from "./queue/task.js";
