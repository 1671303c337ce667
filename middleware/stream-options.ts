import type { Request } from "express";

import type {
  AccessAnswer,
  OnLimit,
  OutboundMessage,
  PubSubSession,
  RedisSse,
  ResumePolicy,
  RevalidationOptions,
  SessionKey,
  SlowConsumerPolicy,
  StreamEvent,
} from "../lib/index.js";
import type { OnStreamError } from "./rule-errors.js";

/**
 * Returns the channels that the client may read: a name, an array of names, or nothing. If it returns nothing, the answer is 403.
 *
 * To set the key, the end of the right or the resume policy too, return an object (`StreamAccess`). The resolver runs each time a
 * client opens a stream or reconnects.
 */
export type ChannelResolver<Params = RouteParams> = (
  req: Request<Params>,
) => AccessAnswer | Promise<AccessAnswer>;

/**
 * The default type of `req.params`: every parameter is text.
 *
 * Pass your own type to have the names checked, or for a wildcard, which is an array in Express 5:
 * `sseStream<{ splat: string[] }>(...)`.
 */
export type RouteParams = { readonly [name: string]: string };

/** The option `revalidate` of a mount. */
export interface StreamRevalidation<Params = RouteParams> extends Omit<
  RevalidationOptions<PubSubSession>,
  "check"
> {
  /**
   * Returns whether the client may still read the stream. It can return a promise. If the result is falsy, the server closes the
   * stream with reason `revoked`.
   */
  readonly check: (req: Request<Params>, session: PubSubSession) => unknown;
}

/** Options of `sseStream()`. */
export interface SseStreamOptions<Params = RouteParams> {
  /**
   * The service of the stream.
   *
   * @defaultValue the service that `defaultService()` returns, created at the first request
   */
  readonly service?: RedisSse;
  /**
   * Identifies the caller by a user's id or `req.ip`, for logs and `limits.maxSessionsPerKey`.
   *
   * A number or a bigint is converted to text. `undefined` and `null` mean no key. The function can return a promise.
   * `limits.resolverTimeoutMs` is its deadline, together with the resolver. If the value has another type, a `ConfigError`
   * goes to `next(err)`.
   *
   * @defaultValue no key
   */
  readonly key?: ((req: Request<Params>) => SessionKey | Promise<SessionKey>) | undefined;
  /**
   * How a stream over `limits.maxSessionsPerKey` is handled.
   *
   * - `"event"`: the client of the new stream gets a 200, an `error` event (`LIMIT_SESSIONS_PER_KEY`) and a `retry:` of at
   *   least 5 s, and reconnects. With `onUnavailable: "status"` it gets a 503.
   * - `"status"`: the client of the new stream gets a 429. An EventSource does not reconnect after that.
   * - `"evict-oldest"`: the server closes the oldest stream of the key with reason `limit`. Its client reconnects after 60 to
   *   75 s. Each stage of closing takes up to `limits.closeTimeoutMs`. Open and closing streams of a key together can reach
   *   twice the limit. Above that, `"event"` applies.
   *
   * @defaultValue "event"
   */
  readonly onLimit?: OnLimit | undefined;
  /**
   * HTTP methods to accept besides GET and HEAD, in upper case: `["POST"]`.
   *
   * Other methods are answered 405. You need this option if you mount the handler with `use()`, or if your own handler calls
   * it. `app.post(path, sseStream(...))` works without it.
   *
   * @defaultValue none
   */
  readonly methods?: readonly string[] | undefined;
  /**
   * Other origins whose pages can open a stream with the user's cookies and read it: `["https://app.example.com"]`.
   *
   * - If the origin of a request is in the list, the answer has CORS headers that allow credentials. A refusal has them too.
   * - With `"*"`, every answer has CORS headers without credentials. So every page can read the stream, but without cookies.
   * - A preflight request (`OPTIONS`) is answered 204. Express passes it to the handler only if you mount the handler with
   *   `app.use(path, stream)`, or also with `app.options(path, stream)`.
   * - If earlier middleware has set `Access-Control-Allow-Origin`, this mount sets no CORS headers. The origin in that header then
   *   counts as allowed.
   *
   * The mount also protects the stream against pages of other sites, with or without this option. If such a page sends a request
   * with cookies, and its origin is not in the list, the answer is 403 (`CROSS_SITE`). `"*"` does not allow such requests. The
   * mount uses the header `Sec-Fetch-Site` of the browser. A user can still open the URL in a tab or a window.
   *
   * Write each origin as a browser sends it: in lower case, without a path and without a slash at the end. Otherwise `sseStream()`
   * throws a `ConfigError`.
   *
   * @defaultValue no CORS headers
   */
  readonly allowOrigins?: readonly string[] | "*" | undefined;
  /**
   * How the client gets a retryable error, for example because Redis is unavailable, the pool is exhausted, or the service
   * is shutting down.
   *
   * - `"event"`: a 200, an `error` event and a `retry:` field. An EventSource reconnects.
   * - `"status"`: a 503 with `Retry-After`, for clients that read the status. An EventSource does not reconnect.
   *
   * @defaultValue "event"
   */
  readonly onUnavailable?: "event" | "status" | undefined;
  /**
   * Milliseconds without data after which the client gets a heartbeat. `false`: no heartbeats.
   *
   * @defaultValue `heartbeatMs` of the service
   */
  readonly heartbeatMs?: number | false | undefined;
  /**
   * Milliseconds that a client waits before it reconnects: the `retry:` field.
   *
   * @defaultValue `retryMs` of the service
   */
  readonly retryMs?: number | undefined;
  /**
   * Where the stream starts if the client sends no `Last-Event-ID`.
   *
   * - `"now"`: with the next event of each channel. A finite channel starts at its oldest kept event.
   * - `"earliest"`: with the oldest kept event of each channel. The client may also ask for it: `?lastEventId=earliest`.
   *
   * @defaultValue "now"
   */
  readonly from?: "now" | "earliest" | undefined;
  /**
   * How far back a client may resume with its `Last-Event-ID`: `"all"`, `"since-admission"`, `{ maxAgeMs }` or `false`.
   *
   * `"since-admission"` and `{ maxAgeMs }` need the option `secret` of `createRedisSse()`. Without it, `sseStream()` throws a
   * `ConfigError`. With the default service, each request is answered 500 (`CONFIG`) instead. Set `key` too, so that a client
   * cannot use the id of another user. The limits do not apply to finite channels and tasks.
   *
   * @defaultValue "all"
   */
  readonly resume?: ResumePolicy | undefined;
  /**
   * Checks the right to each open stream at regular intervals: `{ everyMs: 60_000, check: (req) => isLoggedIn(req) }`.
   *
   * @defaultValue no checks
   */
  readonly revalidate?: StreamRevalidation<Params> | undefined;
  /**
   * How events of a slow client are handled: `"disconnect"`, `"drop-oldest"`, `"latest"` or `{ latestBy }`.
   *
   * @defaultValue `slowConsumer` of the service
   */
  readonly slowConsumer?: SlowConsumerPolicy | undefined;
  /**
   * Decides whether this client gets an event. A falsy value means no.
   *
   * It runs synchronously, for each event of each stream. If it throws or returns a promise, the event is not sent, the client
   * gets a `gap` event (`invalid`) instead, and `onError` gets the error. The stream continues.
   *
   * @defaultValue the client gets every event
   */
  readonly filter?: ((event: StreamEvent, req: Request<Params>) => boolean | null | undefined) | undefined;
  /**
   * Changes an event for this client.
   *
   * Return the event that the client gets, in a form that `publish()` accepts, or a copy of the given event with other fields.
   * Return `null` to send nothing. Equal results of several streams are encoded once.
   *
   * If it throws, or returns `undefined`, a promise or an invalid event, the client gets a `gap` event (`invalid`) in the
   * event's place, and `onError` gets the error. The stream continues.
   *
   * @defaultValue events are sent unchanged
   */
  readonly transform?: ((event: StreamEvent, req: Request<Params>) => OutboundMessage | null) | undefined;
  /**
   * Ends the stream with reason `completed` after the first event for which it returns a truthy value.
   *
   * It gets each event as it was published, as soon as the event arrives, including buffered events and events that `filter`
   * removes. If it throws or returns a promise, the stream continues, and `onError` gets the error.
   */
  readonly until?: ((event: StreamEvent, req: Request<Params>) => boolean | null | undefined) | undefined;
  /**
   * Returns events that the client gets directly after `connected`, before events of the channels.
   *
   * It is called before the stream is subscribed, and cannot return a promise. If an event is invalid, no stream opens, and
   * `next(err)` gets the same error as from `session.send()`.
   *
   * @defaultValue none
   */
  readonly first?: ((req: Request<Params>) => readonly OutboundMessage[]) | undefined;
  /**
   * Gets the error if `filter`, `transform`, `until` or `latestBy` throws or returns an invalid value.
   *
   * It is called at most once a second for each of the four functions of this mount. `context.omitted` counts the failures
   * between two calls. The context also has the rule, the request, and the channel and type of the event, but not its data.
   * If `onError` itself throws, only the `debug` package reports it.
   *
   * @defaultValue writes an error to the `logger` of the service
   */
  readonly onError?: OnStreamError | undefined;
  /**
   * Called when the stream is open, for example to send the client its initial state.
   *
   * If it throws, the stream ends, and the error goes to `next(err)`.
   */
  readonly onOpen?: ((session: PubSubSession, req: Request<Params>) => void | Promise<void>) | undefined;
}
