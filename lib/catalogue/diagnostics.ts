import { channel, type Channel } from "node:diagnostics_channel";

import type { CloseReason } from "./close-reasons.js";
import type { GapReason } from "../events/gap.js";

/** The events that monitoring tools can subscribe to. Each has its own channel of `node:diagnostics_channel`. */
export interface DiagnosticEvents {
  /** A stream is open. */
  readonly "redis-sse:session:open": {
    /** The id of the session, as in `connected`. */
    readonly sessionId: string;
    /** The key that the option `key` of the mount returned. `undefined` if it returned none. */
    readonly key: string | undefined;
    /** The channels of the stream. */
    readonly channels: readonly string[];
    /** Whether the client has resumed and gets every event that it missed. */
    readonly recovered: boolean;
  };
  /** A stream has ended and released all its resources. If it ended before it was open, `session:open` was not published. */
  readonly "redis-sse:session:close": {
    /** The id of the session, as in `connected`. */
    readonly sessionId: string;
    /** The key that the option `key` of the mount returned. `undefined` if it returned none. */
    readonly key: string | undefined;
    /** Why the stream ended. */
    readonly reason: CloseReason;
    /** Whether the stream was open, so that `session:open` was published. */
    readonly wasOpen: boolean;
    /** The code of the error that ended the stream. */
    readonly code: string | undefined;
    /** Events written to the client. */
    readonly messagesSent: number;
    /** Bytes written to the client. */
    readonly bytesSent: number;
    /** How long the stream was open, in milliseconds. */
    readonly durationMs: number;
  };
  /** Redis has acknowledged an event of `publish()`. */
  readonly "redis-sse:publish": {
    /** The channel of the event. */
    readonly channel: string;
    /** The type of the event. `undefined` if the publisher gave none. */
    readonly event: string | undefined;
    /** The length of the data in UTF-16 units. */
    readonly length: number;
    /** The id of the event in the history of its channel. `null` if the event is not kept. */
    readonly id: string | null;
    /** How many Redis connections received the event. */
    readonly receivers: number;
  };
  /** One client gets a `gap` event, because it will not get some events. */
  readonly "redis-sse:gap": {
    /** Why events are missing. */
    readonly reason: GapReason;
    /** The channels of the missing events. */
    readonly channels: readonly string[];
  };
  /** The connection that all streams share was lost. */
  readonly "redis-sse:redis:lost": {
    /** Number of channels to which streams of this process are subscribed. */
    readonly channels: number;
  };
  /** The connection that all streams share is ready, for the first time or again. */
  readonly "redis-sse:redis:ready": {
    /** Number of channels to which streams of this process are subscribed. */
    readonly channels: number;
  };
  /** A worker starts an attempt at a task. */
  readonly "redis-sse:task:start": {
    /** The name of the queue. */
    readonly queue: string;
    /** The id of the task. */
    readonly id: string;
    /** The kind of the task. */
    readonly kind: string;
    /** Number of the attempt, starting at 1. */
    readonly attempt: number;
  };
  /** An attempt has ended. */
  readonly "redis-sse:task:end": {
    /** The name of the queue. */
    readonly queue: string;
    /** The id of the task. */
    readonly id: string;
    /** The kind of the task. */
    readonly kind: string;
    /** Number of the attempt, starting at 1. */
    readonly attempt: number;
    /**
     * The result of the attempt:
     *
     * - `succeeded`, `failed`: the task has ended.
     * - `retry`: a further attempt follows.
     * - `unknown`: this worker has no handler for the kind. The task returns to the queue, and fails after `unknownKindMs`.
     * - `back`: the worker stops. The task returns to the queue.
     * - `lost`: the task was cancelled, or another worker has it.
     * - `unstored`: the worker stopped before Redis stored the result.
     */
    readonly outcome: "succeeded" | "failed" | "retry" | "unknown" | "back" | "lost" | "unstored";
    /** How long the attempt took, in milliseconds. */
    readonly durationMs: number;
  };
}

/** Describes each channel. `npm run docs` writes `docs/errors.md` from it. */
export const diagnosticCatalogue: Readonly<Record<keyof DiagnosticEvents, string>> = {
  "redis-sse:session:open": "A stream is open: `{ sessionId, key, channels, recovered }`.",
  "redis-sse:session:close":
    "A stream has ended and released all its resources. `wasOpen` is false if it ended before it was open: `{ sessionId, key, reason, code, wasOpen, messagesSent, bytesSent, durationMs }`.",
  "redis-sse:publish":
    "Redis has acknowledged an event of `publish()` (not of `complete()` or a writer): `{ channel, event, length, id, receivers }`.",
  "redis-sse:gap":
    "One client gets a `gap` event, because it will not get some events: `{ reason, channels }`.",
  "redis-sse:redis:lost": "The connection that all streams share was lost: `{ channels }`, a number.",
  "redis-sse:redis:ready":
    "The connection that all streams share is ready, for the first time or again: `{ channels }`, a number.",
  "redis-sse:task:start": "A worker starts an attempt at a task: `{ queue, id, kind, attempt }`.",
  "redis-sse:task:end":
    "An attempt has ended: `{ queue, id, kind, attempt, outcome, durationMs }`. `outcome` is `succeeded`, `failed`, `retry` (a further attempt follows), `unknown` (no handler; the task returns to the queue, and fails after `unknownKindMs`), `back` (the worker stops; the task returns to the queue), `lost` (the task was cancelled, or another worker has it) or `unstored` (the worker stopped before Redis stored the result).",
};

/** Returns one channel. Create a message only if `hasSubscribers` is true. */
export function diagnosticChannel<Name extends keyof DiagnosticEvents>(
  name: Name,
): Channel<unknown, DiagnosticEvents[Name]> {
  return channel(name) as Channel<unknown, DiagnosticEvents[Name]>;
}
