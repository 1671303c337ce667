import type { RedisSseError } from "../errors.js";
import { errorCatalogue, type ErrorDescription } from "../catalogue/error-catalogue.js";
import { addRetry, encodeControl } from "./frame.js";

/** A complete HTTP answer. An adapter sends it without changes. */
export interface HttpAnswer {
  /** The HTTP status. */
  readonly status: number;
  /** The headers, by name. */
  readonly headers: Readonly<Record<string, string>>;
  /** The body. Empty for 204. */
  readonly body: Buffer;
}

/** The head of an event stream. */
export interface StreamHead {
  /** The HTTP status. */
  readonly status: 200;
  /** The headers, by name. */
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * The status and headers of every event stream.
 *
 * The standard requires UTF-8, but without a `charset` some clients decode the text as Latin-1. `no-transform` keeps compression
 * middleware from buffering events. `X-Accel-Buffering` does the same for nginx. HTTP/2 forbids a `Connection` header; for
 * HTTP/1.1 the adapter sets it.
 */
export const streamHead: StreamHead = {
  status: 200,
  headers: {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
  },
};

/**
 * The event id at the end of a completed stream. An EventSource reconnects after each end. With this `Last-Event-ID` it is
 * answered 204, which makes it stop (WHATWG HTML 9.2.3).
 */
export const COMPLETED_ID = "completed";

/** How a stream over `limits.maxSessionsPerKey` is handled. `SseStreamOptions.onLimit` describes each value. */
export type OnLimit = "event" | "status" | "evict-oldest";

/** Options of `answerTo()`. */
export interface FaultAnswerOptions {
  /**
   * How the client gets a retryable error: a 200 with an `error` event, or a 503.
   *
   * @defaultValue "event"
   */
  readonly onUnavailable?: "event" | "status" | undefined;
  /**
   * Milliseconds that the client waits before it reconnects.
   *
   * @defaultValue 2_000
   */
  readonly retryMs?: number | undefined;
  /**
   * The largest part of `retryMs` that is added at random.
   *
   * @defaultValue 1
   */
  readonly jitter?: number;
  /**
   * With "status", a stream over `limits.maxSessionsPerKey` is answered 429.
   *
   * @defaultValue "event"
   */
  readonly onLimit?: OnLimit | undefined;
  /**
   * The HTTP methods that a 405 lists in `Allow`.
   *
   * @defaultValue GET and HEAD
   */
  readonly allow?: readonly string[];
  /**
   * Returns a number from 0 to 1. Tests can replace it.
   *
   * @defaultValue `Math.random`
   */
  readonly random?: () => number;
}

/** Minimum `retry:` for a key at its limit: until one of its streams ends, each new stream is refused again. */
const LEAST_LIMIT_RETRY_MS = 5_000;

/**
 * The answer to a request that gets no stream.
 *
 * - A final answer has a status and a JSON body: 400, 401, 403, 404, 405, 406 or 500. `COMPLETED` is answered 204 without a body.
 *   An EventSource does not reconnect.
 * - A retryable error is answered 200 with a `retry:` field and an `error` event. An EventSource reconnects.
 * - With `onUnavailable: "status"`, a retryable error is answered 503 with `Retry-After`.
 * - With `onLimit: "status"`, a stream over `limits.maxSessionsPerKey` is answered 429.
 */
export function answerTo(fault: RedisSseError, options: FaultAnswerOptions = {}): HttpAnswer {
  const isOverLimit = fault.code === "LIMIT_SESSIONS_PER_KEY";
  const isTooMany = isOverLimit && options.onLimit === "status";
  const leastMs = isOverLimit && !isTooMany ? LEAST_LIMIT_RETRY_MS : 0;
  const retryMs = jitteredRetryMs(options, leastMs);
  const retryAfter = { "Retry-After": String(Math.max(1, Math.ceil(retryMs / 1000))) };
  // An EventSource does not reconnect after any status but 200.
  const status = (errorCatalogue[fault.code] as ErrorDescription | undefined)?.status;
  if (status === 204) return { status: 204, headers: { "Cache-Control": "no-store" }, body: Buffer.alloc(0) };
  if (status === 405) {
    return refusal(405, fault, { Allow: (options.allow ?? ["GET", "HEAD"]).join(", ") });
  }
  if (status === 401) return refusal(401, fault, { "WWW-Authenticate": "Bearer" });
  if (fault.code === "NO_SOCKET") return refusal(503, fault, { Connection: "close" });
  if (status !== undefined) return refusal(status, fault, {});
  if (isTooMany) return refusal(429, fault, retryAfter);
  if (options.onUnavailable === "status") return refusal(503, fault, retryAfter);
  return { ...streamHead, body: Buffer.from(encodeFault(fault, retryMs)) };
}

/** Encodes an `error` event for a retryable error, with the `retry:` field. */
export function encodeFault(fault: RedisSseError, retryMs: number): string {
  const told = { code: fault.code, message: fault.message };
  return addRetry(encodeControl("error", told), retryMs);
}

/** Adds up to `jitter` times `retryMs` at random, so that clients do not all reconnect at the same time. */
export function jitteredRetryMs(options: FaultAnswerOptions, leastMs = 0): number {
  const { retryMs = 2_000, random = Math.random, jitter = 1 } = options;
  return Math.round(Math.max(retryMs, leastMs) * (1 + jitter * random()));
}

function refusal(
  status: number,
  fault: RedisSseError,
  headers: Readonly<Record<string, string>>,
): HttpAnswer {
  const body = JSON.stringify({ error: { code: fault.code, message: fault.message } });
  return {
    status,
    headers: { "Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store", ...headers },
    body: Buffer.from(body),
  };
}
