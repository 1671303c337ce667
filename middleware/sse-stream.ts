import type { Request, RequestHandler, Response } from "express";

import {
  answerTo,
  assertAtOnce,
  assertKnown,
  assertObject,
  ConfigError,
  describeValue,
  readMilliseconds,
  readSlowConsumer,
  RedisSseError,
  streamHead,
  type ChannelSelection,
  type OutboundMessage,
  type PubSubSession,
  type RedisSse,
  type SlowConsumerPolicy,
  type StreamEvent,
  type StreamRequest,
} from "../lib/index.js";
import { defaultService } from "./default-service.js";
import { ResponseSink } from "./response-sink.js";
import { RuleErrors, type OnStreamError } from "./rule-errors.js";
import { assertServiceOption } from "./service-option.js";

/** Tells which channels a request may hear: one name, several, or nothing, which is answered 403. */
export type ChannelResolver<Params = RouteParams> = (
  req: Request<Params>,
) => ChannelSelection | Promise<ChannelSelection>;

/**
 * The params of a route, where nothing is said of them: text. For a wildcard, which is a list in Express 5, or to have
 * their names checked, say them: `sseStream<{ splat: string[] }>(...)`.
 */
export type RouteParams = { readonly [name: string]: string };

export interface SseStreamOptions<Params = RouteParams> {
  /** Default: one service for the process, made with the first request, from `REDIS_URL`. */
  readonly service?: RedisSse;
  /** Who is asking, for logs and for `limits.maxSessionsPerKey`: a user's id, or `req.ip`. Default: nobody. */
  readonly key?: ((req: Request<Params>) => string | undefined) | undefined;
  /**
   * How a passing fault is answered (Redis away, pool exhausted, shutting down). "event": 200, an `error`
   * event and a retry hint, so that an EventSource comes back. "status": 503 with Retry-After, for clients
   * that read statuses. Default "event".
   */
  readonly onUnavailable?: "event" | "status" | undefined;
  /** Milliseconds of silence before a heartbeat. Default: the service's. */
  readonly heartbeatMs?: number | undefined;
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
   * and type, never its data, and the request. What it throws itself is logged. Default: `console.error`.
   */
  readonly onError?: OnStreamError | undefined;
  /** Called when the stream is live, to send what the client should know first. What it throws goes to `next`. */
  readonly onOpen?: ((session: PubSubSession, req: Request<Params>) => void | Promise<void>) | undefined;
}

/**
 * Streams the resolved channels to the client until it leaves; then everything is given back. Faults of the
 * resolver go to `next(err)`, before anything is sent. Throws `ConfigError` for arguments that cannot be.
 */
export function sseStream<Params = RouteParams>(
  channelResolver: ChannelResolver<Params>,
  options: SseStreamOptions<Params> = {},
): RequestHandler<Params> {
  assertArguments(channelResolver, options);
  const errors = new RuleErrors(options.onError);
  return async (req, res, next) => {
    try {
      const sink = new ResponseSink(req, res);
      const fault = findFault(req, res);
      if (fault !== null) return sink.answer(answerTo(fault, PRELIMINARY));
      const request = streamRequest(req, options, errors);
      const selection = await channelResolver(req);
      // The client may have left meanwhile, or the resolver's own library may have answered.
      if (sink.closed || sink.answered) return;
      const service = options.service ?? defaultService();
      if (req.method === "HEAD") return answerHead(sink, service.check(request, selection));
      await openStream(
        service,
        request,
        sink,
        selection,
        options.onOpen && ((session) => options.onOpen!(session, req)),
      );
    } catch (error) {
      next(error);
    }
  };
}

/** Opens the stream; rejects only with what the application threw. */
async function openStream(
  service: RedisSse,
  request: StreamRequest,
  sink: ResponseSink,
  selection: ChannelSelection,
  onOpen: ((session: PubSubSession) => void | Promise<void>) | undefined,
): Promise<void> {
  let session: PubSubSession;
  try {
    session = await service.open(request, sink, selection);
  } catch (error) {
    if (error instanceof RedisSseError) return; // it has had its answer
    throw error;
  }
  if (session.state !== "subscribed") return;
  try {
    await onOpen?.(session);
  } catch (error) {
    // The client learns that something failed, the application what.
    await session.close("app", new RedisSseError("INTERNAL", "an unexpected error"));
    throw error;
  }
}

function streamRequest<Params>(
  req: Request<Params>,
  options: SseStreamOptions<Params>,
  errors: RuleErrors,
): StreamRequest {
  const { key, first, from, filter, transform, until, slowConsumer, onUnavailable, heartbeatMs, retryMs } =
    options;
  return {
    key: key?.(req),
    first: first?.(req),
    lastEventId: lastEventIdOf(req) ?? (from === "earliest" ? "earliest" : undefined),
    filter: filter && ((event) => filter(event, req)),
    transform: transform && ((event) => transform(event, req)),
    slowConsumer,
    until: until && ((event) => until(event, req)),
    onError: errors.of(req as Request),
    onUnavailable,
    heartbeatMs,
    retryMs,
  };
}

/** The header, which an EventSource sends when it comes back; else the query, for a page that remembers its place. */
export function lastEventIdOf<Params>(req: Request<Params>): string | undefined {
  const given = req.get("Last-Event-ID") || req.query["lastEventId"] || undefined;
  // Given twice, or as an object: nothing that this library has written, and answered as such.
  return given === undefined || typeof given === "string" ? given : MALFORMED;
}

const MALFORMED = "malformed";

/** What keeps a request from being a stream at all, before anyone is asked for its channels. */
function findFault<Params>(req: Request<Params>, res: Response): RedisSseError | null {
  if (ResponseSink.isPipelined(res)) {
    return new RedisSseError("NO_SOCKET", "expected one request at a time on this connection");
  }
  // Mounted with use() this sees every method; with get(), post() or all() the application has chosen.
  const chosen = (req.route as unknown) !== undefined;
  if (!chosen && req.method !== "GET" && req.method !== "HEAD") {
    return new RedisSseError("METHOD_NOT_ALLOWED", `expected GET or HEAD, got ${req.method}`);
  }
  if (!req.accepts("text/event-stream")) {
    return new RedisSseError("NOT_ACCEPTABLE", "expected an Accept header that admits text/event-stream");
  }
  return null;
}

/** The head that GET would have, and nothing opened for it. */
function answerHead(sink: ResponseSink, fault: RedisSseError | null): void {
  if (fault === null) sink.answer({ ...streamHead, body: Buffer.alloc(0) });
  else sink.answer(answerTo(fault, PRELIMINARY));
}

/** For answers without a stream; the faults found first are final, and neither is looked at. */
const PRELIMINARY = { onUnavailable: "status", retryMs: 2_000 } as const;

const KNOWN: ReadonlySet<string> = new Set<keyof SseStreamOptions>([
  "service",
  "key",
  "from",
  "onUnavailable",
  "heartbeatMs",
  "retryMs",
  "slowConsumer",
  "filter",
  "transform",
  "until",
  "first",
  "onError",
  "onOpen",
]);

function assertArguments<Params>(channelResolver: unknown, options: SseStreamOptions<Params>): void {
  if (typeof channelResolver !== "function") {
    throw new ConfigError(
      `expected sseStream(channelResolver) with a function, got ${describeValue(channelResolver)}`,
    );
  }
  assertObject("options", options);
  assertServiceOption(options);
  assertKnown("options", options, KNOWN);
  const { from, slowConsumer, onUnavailable, heartbeatMs, retryMs } = options;
  if (slowConsumer !== undefined) readSlowConsumer(slowConsumer);
  if (from !== undefined && from !== "now" && from !== "earliest") {
    throw new ConfigError(`expected from as "now" or "earliest", got ${describeValue(from)}`);
  }
  for (const name of ["key", "filter", "transform", "until", "first", "onError", "onOpen"] as const) {
    if (options[name] === undefined || typeof options[name] === "function") continue;
    throw new ConfigError(`expected ${name} as a function, got ${describeValue(options[name])}`);
  }
  for (const name of ["filter", "transform", "until"] as const) assertAtOnce(name, options[name]);
  if (onUnavailable !== undefined && onUnavailable !== "event" && onUnavailable !== "status") {
    throw new ConfigError(
      `expected onUnavailable as "event" or "status", got ${describeValue(onUnavailable)}`,
    );
  }
  for (const [name, value] of Object.entries({ heartbeatMs, retryMs })) {
    if (value !== undefined) readMilliseconds(name, value);
  }
}
