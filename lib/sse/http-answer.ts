import type { RedisSseError } from "../errors.js";
import { errorCatalogue } from "../error-catalogue.js";
import { addRetry, encodeControl } from "./frame.js";

/** A complete HTTP answer, for an adapter to send as it is. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** How an event stream begins. */
export interface StreamHead {
  readonly status: 200;
  readonly headers: Readonly<Record<string, string>>;
}

/**
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

/** How a stream over `limits.maxSessionsPerKey` is handled; see `SseStreamOptions.onLimit`. */
export type OnLimit = "event" | "status" | "evict-oldest";

export interface FaultAnswerOptions {
  readonly onUnavailable: "event" | "status";
  readonly retryMs: number;
  /** The largest share of `retryMs` that is added at random. Defaults to 1. */
  readonly jitter?: number;
  /** With "status", too many streams of one key are answered 429. Defaults to "event". */
  readonly onLimit?: OnLimit | undefined;
  /** The methods that a 405 lists. Defaults to GET and HEAD. */
  readonly allow?: readonly string[];
  readonly random?: () => number;
}

/** A key at its limit stays there until one of its streams ends: a client that reconnects sooner is refused again. */
const LEAST_LIMIT_RETRY_MS = 5_000;

/**
 * The answer to a request that gets no stream. A final fault is a status with a JSON body. A passing one
 * (Redis away, pool exhausted, shutting down) is a 200 whose stream says when to come back, tells the
 * fault and ends, so that an EventSource returns by itself; or 503 with Retry-After where that is preferred.
 */
export function answerTo(fault: RedisSseError, options: FaultAnswerOptions): HttpAnswer {
  const isOverLimit = fault.code === "LIMIT_SESSIONS_PER_KEY";
  const isTooMany = isOverLimit && options.onLimit === "status";
  const leastMs = isOverLimit && !isTooMany ? LEAST_LIMIT_RETRY_MS : 0;
  const retryMs = jitteredRetryMs(Math.max(options.retryMs, leastMs), options.random, options.jitter);
  const retryAfter = { "Retry-After": String(Math.max(1, Math.ceil(retryMs / 1000))) };
  // Final: an EventSource gives up on any status but 200.
  const { status } = errorCatalogue[fault.code];
  if (status === 204) return { status: 204, headers: { "Cache-Control": "no-store" }, body: Buffer.alloc(0) };
  if (status === 405) {
    return refusal(405, fault, { Allow: (options.allow ?? ["GET", "HEAD"]).join(", ") });
  }
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
export function jitteredRetryMs(retryMs: number, random: () => number = Math.random, jitter = 1): number {
  return Math.round(retryMs * (1 + jitter * random()));
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
