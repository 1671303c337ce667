import type { Request } from "express";

import type {
  ChannelSelection,
  OnLimit,
  OutboundMessage,
  PubSubSession,
  RedisSse,
  SessionKey,
  SlowConsumerPolicy,
  StreamEvent,
} from "../lib/index.js";
import type { OnStreamError } from "./rule-errors.js";

/** Tells which channels a request may hear: one name, several, or nothing, which is answered 403. */
export type ChannelResolver<Params = RouteParams> = (
  req: Request<Params>,
) => ChannelSelection | Promise<ChannelSelection>;

/**
 * The params of a route, where nothing is said of them: text. For a wildcard, which is a list in Express 5, or to have
 * their names checked, say them: `sseStream<{ splat: string[] }>(...)`.
 */
export type RouteParams = { readonly [name: string]: string };

/** Options of `sseStream()`. */
export interface SseStreamOptions<Params = RouteParams> {
  /** Default: one service for the process, made with the first request, from `REDIS_URL`. */
  readonly service?: RedisSse;
  /**
   * Identifies the caller by a user's id or `req.ip`, for logs and `limits.maxSessionsPerKey`.
   *
   * A number or a bigint counts as its text; `undefined` and `null` stand for no key. A promise is awaited, together with
   * the resolver, within `limits.resolverTimeoutMs`. A value of any other type is refused: a `ConfigError` with the type
   * goes to `next(err)`. Defaults to no key.
   */
  readonly key?: ((req: Request<Params>) => SessionKey | Promise<SessionKey>) | undefined;
  /**
   * How a stream over `limits.maxSessionsPerKey` is handled.
   *
   * "event": the new stream is refused with a 200, an `error` event (`LIMIT_SESSIONS_PER_KEY`) and a `retry:` of at
   * least 5 s, so that an EventSource reconnects. With `onUnavailable: "status"`, it is refused with a 503.
   *
   * "status": the new stream is refused with a 429, which ends an EventSource until the page opens a new one.
   *
   * "evict-oldest": the oldest stream of the key is closed (`limit`), and its client reconnects after 60 to 75 s. Each
   * stage of closing takes up to `limits.closeTimeoutMs`. With the streams that are closing, a key can have at most
   * twice the limit; beyond that, "event" applies.
   *
   * Defaults to "event".
   */
  readonly onLimit?: OnLimit | undefined;
  /**
   * HTTP methods to accept besides GET and HEAD, in upper case: `["POST"]`.
   *
   * `app.post(path, sseStream(...))` needs no such option. It is for a handler that is mounted with `use()`, or that your
   * own handler calls. Other methods are answered 405. Defaults to none.
   */
  readonly methods?: readonly string[] | undefined;
  /**
   * How a passing fault is answered (Redis away, pool exhausted, shutting down). "event": 200, an `error`
   * event and a retry hint, so that an EventSource comes back. "status": 503 with Retry-After, for clients
   * that read statuses. Default "event".
   */
  readonly onUnavailable?: "event" | "status" | undefined;
  /** Milliseconds of silence before a heartbeat; `false` for none. Default: the service's. */
  readonly heartbeatMs?: number | false | undefined;
  /** Milliseconds a client waits before it comes back. Default: the service's. */
  readonly retryMs?: number | undefined;
  /**
   * Where a client begins that says nothing of where it was: with what comes "now", or with the "earliest" event
   * that is held of each channel. Default "now"; a channel that was completed, or is to be, always from its beginning.
   */
  readonly from?: "now" | "earliest" | undefined;
  /**
   * What becomes of events that the client does not read in time: "disconnect", "drop-oldest", "latest", or
   * `{ latestBy }`. Default: the service's.
   */
  readonly slowConsumer?: SlowConsumerPolicy | undefined;
  /**
   * Whether an event is for this client. It is called for each event and each stream, at once: one that answers a
   * promise lets nothing through. An event that it throws for is not sent, and the client is told by a `gap`
   * (`invalid`), as is one for which it answers a promise; `onError` is told why. What is falsy is no, as everywhere.
   */
  readonly filter?: ((event: StreamEvent, req: Request<Params>) => boolean | null | undefined) | undefined;
  /**
   * What this client gets in an event's place, of the same form as what `publish()` takes, or the event itself with
   * other fields; `null`: nothing; `undefined` is a mistake. Streams that make the same of an event share its encoded form. One that it throws
   * for, or of which it makes what cannot be sent, is not sent, as with `filter`.
   */
  readonly transform?: ((event: StreamEvent, req: Request<Params>) => OutboundMessage | null) | undefined;
  /**
   * Ends the stream (reason `completed`) after the first event, as it was published, for which this answers true. Asked
   * when an event comes, also about those that wait for the client, or that `filter` leaves out. One that throws, or answers a promise, ends nothing, and `onError` is told.
   */
  readonly until?: ((event: StreamEvent, req: Request<Params>) => boolean | null | undefined) | undefined;
  /** What the client gets right after `connected`, before any event. Refused as by `session.send()`. Default: nothing. */
  readonly first?: ((req: Request<Params>) => readonly OutboundMessage[]) | undefined;
  /**
   * Told what `filter`, `transform`, `until` or `latestBy` threw, or that one gave an answer that is none: for each of
   * them at most once a second at this mount, with how many were `omitted`. The context has the rule, the event's channel
   * and type, never its data, and the request. What it throws itself goes to the `debug` package.
   * By default failures are written to the service's `logger` as errors.
   */
  readonly onError?: OnStreamError | undefined;
  /** Called when the stream is live, to send what the client should know first. What it throws goes to `next`. */
  readonly onOpen?: ((session: PubSubSession, req: Request<Params>) => void | Promise<void>) | undefined;
}
