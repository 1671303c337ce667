import { channel, type Channel } from "node:diagnostics_channel";

import type { CloseReason } from "./close-reasons.js";
import type { GapReason } from "./events/gap.js";

/** What happens in a service, for the tools of operators: each on a channel of `node:diagnostics_channel`. */
export interface DiagnosticEvents {
  /** A stream went live. */
  readonly "redis-sse:session:open": {
    readonly sessionId: string;
    readonly key: string | undefined;
    readonly channels: readonly string[];
    /** Whether the client came back, and gets all that it missed. */
    readonly recovered: boolean;
  };
  /** A stream has ended, and everything it held is given back; also one that never went live, without `session:open`. */
  readonly "redis-sse:session:close": {
    readonly sessionId: string;
    readonly key: string | undefined;
    readonly reason: CloseReason;
    /** Whether the stream went live: `session:open` was told. */
    readonly wasOpen: boolean;
    /** The code of the fault that ended it. */
    readonly code: string | undefined;
    /** Events written to the client. */
    readonly messagesSent: number;
    readonly bytesSent: number;
    /** How long it lived, in milliseconds. */
    readonly durationMs: number;
  };
  /** Redis has acknowledged an event of `publish()`. */
  readonly "redis-sse:publish": {
    readonly channel: string;
    readonly event: string | undefined;
    /** The length of the data in UTF-16 units. */
    readonly length: number;
    readonly id: string | null;
    readonly receivers: number;
  };
  /** One client is told that it will not get some events. */
  readonly "redis-sse:gap": { readonly reason: GapReason; readonly channels: readonly string[] };
  /** The connection that all streams share was lost. */
  readonly "redis-sse:redis:lost": { readonly channels: number };
  /** The connection that all streams share is there: the first time, or again. */
  readonly "redis-sse:redis:ready": { readonly channels: number };
  /** A worker begins an attempt at a task. */
  readonly "redis-sse:task:start": {
    readonly queue: string;
    readonly id: string;
    readonly kind: string;
    readonly attempt: number;
  };
  /** An attempt is over. */
  readonly "redis-sse:task:end": {
    readonly queue: string;
    readonly id: string;
    readonly kind: string;
    readonly attempt: number;
    /**
     * `retry`: the task is tried again. `unknown`: this worker has no handler for its kind; the task goes back, and fails after
     * `unknownKindMs`. `back`: the worker stops. `lost`: the task was cancelled, or another worker has it. `unstored`: the worker
     * stopped before Redis had stored the outcome.
     */
    readonly outcome: "succeeded" | "failed" | "retry" | "unknown" | "back" | "lost" | "unstored";
    readonly durationMs: number;
  };
}

/** What each channel tells. `docs/errors.md` is written from it. */
export const diagnosticCatalogue: Readonly<Record<keyof DiagnosticEvents, string>> = {
  "redis-sse:session:open": "A stream went live: `{ sessionId, key, channels, recovered }`.",
  "redis-sse:session:close":
    "A stream has ended, also one that never went live (`wasOpen` is false), and everything it held is given back: `{ sessionId, key, reason, code, wasOpen, messagesSent, bytesSent, durationMs }`.",
  "redis-sse:publish":
    "Redis has acknowledged an event of `publish()` (not of `complete()` or a writer): `{ channel, event, length, id, receivers }`.",
  "redis-sse:gap": "One client is told that it will not get some events: `{ reason, channels }`.",
  "redis-sse:redis:lost": "The connection that all streams share was lost: `{ channels }`, a number.",
  "redis-sse:redis:ready": "That connection is there, the first time or again: `{ channels }`.",
  "redis-sse:task:start": "A worker begins an attempt at a task: `{ queue, id, kind, attempt }`.",
  "redis-sse:task:end":
    "An attempt is over: `{ queue, id, kind, attempt, outcome, durationMs }`. `outcome` is `succeeded`, `failed`, `retry` (it is tried again), `unknown` (no handler; it goes back, and fails after `unknownKindMs`), `back` (the worker stops), `lost` (cancelled, or another worker has it) or `unstored` (the worker stopped before Redis stored it).",
};

/** One channel. Look at `hasSubscribers` before making a message: without a subscriber nothing may be made. */
export function diagnosticChannel<Name extends keyof DiagnosticEvents>(
  name: Name,
): Channel<unknown, DiagnosticEvents[Name]> {
  return channel(name) as Channel<unknown, DiagnosticEvents[Name]>;
}
