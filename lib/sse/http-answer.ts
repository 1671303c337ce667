import type { RedisSseError } from "../errors.js";
import { errorCatalogue, type ErrorDescription } from "../error-catalogue.js";
import { addRetry, encodeControl } from "./frame.js";

/** A complete HTTP answer. An adapter sends it as it is. */
export interface HttpAnswer {
  /** The HTTP status. */
  readonly status: number;
  /** The headers, by name. */
  readonly headers: Readonly<Record<string, string>>;
  /** Empty for 204. */
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
 * The standard requires UTF-8, but without a `charset` some clients decode the text as Latin-1.
 * `no-transform` keeps compression() and its like from holding events back; `X-Accel-Buffering` tells
 * nginx the same. No `Connection` header: HTTP/2 forbids it, and over
 * HTTP/1.1 the adapter sees to it.
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
 * The event id that goes with the end of a completed stream. An EventSource comes back after every end; with
 * this as its `Last-Event-ID` it is answered 204, which stops it for good (WHATWG HTML 9.2.3).
 */
export const COMPLETED_ID = "completed";

/** How a stream over `limits.maxSessionsPerKey` is handled. `SseStreamOptions.onLimit` describes each value. */
export type OnLimit = "event" | "status" | "evict-oldest";

/** Options of `answerTo()`. */
export interface FaultAnswerOptions {
  /** How a passing fault is answered: 200 with an `error` event, or 503. Defaults to "event". */
  readonly onUnavailable?: "event" | "status" | undefined;
  /** Milliseconds after which the client may reconnect. Defaults to 2,000. */
  readonly retryMs?: number | undefined;
  /** The largest share of `retryMs` that is added at random. Defaults to 1. */
  readonly jitter?: number;
  /** With "status", too many streams of one key are answered 429. Defaults to "event". */
  readonly onLimit?: OnLimit | undefined;
  /** The methods that a 405 lists. Defaults to GET and HEAD. */
  readonly allow?: readonly string[];
  /** A number from 0 to 1, for tests. Defaults to `Math.random`. */
  readonly random?: () => number;
}

/** A key at its limit stays there until one of its streams ends: a client that reconnects sooner is refused again. */
const LEAST_LIMIT_RETRY_MS = 5_000;

/**
 * The answer to a request that gets no stream.
 *
 * A final fault is answered with a status and a JSON body: 204 for `COMPLETED`, 400, 403, 404, 405, 406 or 500. A passing
 * fault (Redis away, pool exhausted, shutting down) is answered 200 with a `retry:` and an `error` event, so that an
 * EventSource reconnects. With `onUnavailable: "status"`, it is answered 503 with `Retry-After`. With `onLimit: "status"`,
 * too many streams of one key are answered 429.
 */
export function answerTo(fault: RedisSseError, options: FaultAnswerOptions = {}): HttpAnswer {
  const isOverLimit = fault.code === "LIMIT_SESSIONS_PER_KEY";
  const isTooMany = isOverLimit && options.onLimit === "status";
  const leastMs = isOverLimit && !isTooMany ? LEAST_LIMIT_RETRY_MS : 0;
  const retryMs = jitteredRetryMs(options, leastMs);
  const retryAfter = { "Retry-After": String(Math.max(1, Math.ceil(retryMs / 1000))) };
  // Final: an EventSource gives up on any status but 200.
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

/** The frames that tell a client of a passing fault, and when to come back. */
export function encodeFault(fault: RedisSseError, retryMs: number): string {
  const told = { code: fault.code, message: fault.message };
  return addRetry(encodeControl("error", told), retryMs);
}

/** Adds up to `jitter` times `retryMs` at random, so that clients that are refused together reconnect at different times. */
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
