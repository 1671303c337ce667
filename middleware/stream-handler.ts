import { METHODS } from "node:http";

import type { Request, RequestHandler, Response } from "express";

import {
  answerTo,
  COMPLETED_ID,
  optionError,
  readKey,
  serveStream,
  type StreamRequest,
} from "../lib/adapter.js";
import { RedisSseError, type AccessAnswer, type PubSubSession, type RedisSse } from "../lib/index.js";
import { isClientObject } from "./client-object.js";
import { defaultService } from "./default-service.js";
import { lastEventIdOf } from "./read-last-event-id.js";
import { Origins } from "./origins.js";
import { guardPipeline } from "./response/pipeline-guard.js";
import { dropRouting } from "./response/request-memory.js";
import { ResponseSink } from "./response/response-sink.js";
import type { RuleErrors } from "./rule-errors.js";
import type { SseStreamOptions } from "./stream-options.js";

/** The `Accept` header of an EventSource. */
const EVENT_STREAM = "text/event-stream";

const CLIENT_OBJECT = new RedisSseError(
  "INVALID_CHANNEL",
  "The resolver returned an object from the query, the body or the cookies of the request. Create the object in the resolver.",
);

/** The options that decide about a request before its stream opens. */
export type RequestOptions<Params> = Pick<
  SseStreamOptions<Params>,
  "service" | "key" | "methods" | "allowOrigins" | "onUnavailable" | "onLimit" | "retryMs"
>;

/** A request that passed all checks before the resolver. */
export interface Visit<Params> {
  readonly req: Request<Params>;
  readonly sink: ResponseSink;
  readonly service: RedisSse;
  readonly key: string | undefined;
}

/**
 * Creates the handler of `sseStream()` and `taskStream()`. The handler checks the request and runs the resolver and `key`.
 * Then it calls `onAnswer` with the return value of the resolver.
 */
export function streamHandler<Params, Answer>(
  resolver: (req: Request<Params>) => Answer | Promise<Answer>,
  options: RequestOptions<Params>,
  onAnswer: (visit: Visit<Params>, answer: Answer) => Promise<void> | void,
): RequestHandler<Params> {
  const allow = [...new Set(["GET", "HEAD", ...(options.methods ?? [])])];
  const origins = new Origins(options.allowOrigins, allow);

  const handler: RequestHandler<Params> = async (req, res, next) => {
    try {
      const sink = new ResponseSink(req, res);
      if (!sink.canAnswer()) return;
      const service = options.service ?? defaultService();
      const answered = origins.answer(req, res, service);
      if (answered !== null) return sink.answer(answered);
      const fault = findFault(req, res, isRouteOf(handler, req) || allow.includes(req.method));
      if (fault !== null) return sink.answer(answerTo(fault, { ...options, allow }));
      guardPipeline(req, res);
      const resolved = await service.resolve(options, sink, () => ask(options.key, resolver, req));
      // The client may have left, or the application may have sent a response.
      if (resolved === null || !sink.canAnswer()) return;
      const [key, answer] = resolved.value;
      if (isClientObject(answer, req)) return sink.answer(answerTo(CLIENT_OBJECT, options));
      await onAnswer({ req, sink, service, key }, answer);
    } catch (error) {
      next(error);
    }
  };
  return handler;
}

/** Opens the stream, or answers HEAD. Rejects only with errors of the application. */
export async function serve<Params>(
  { req, sink, service, key }: Visit<Params>,
  answer: AccessAnswer,
  options: SseStreamOptions<Params>,
  errors: RuleErrors,
): Promise<void> {
  if (!sink.canAnswer()) return;
  const { first, from, resume, revalidate, filter, transform, until, onOpen } = options;
  const { onUnavailable, onLimit, heartbeatMs, retryMs, slowConsumer } = options;
  const request: StreamRequest = {
    method: req.method,
    key,
    first: first?.(req),
    lastEventId: lastEventIdOf(req),
    from,
    resume,
    revalidate: revalidate && { ...revalidate, check: (session) => revalidate.check(req, session) },
    filter: filter && ((event) => filter(event, req)),
    transform: transform && ((event) => transform(event, req)),
    slowConsumer,
    until: until && ((event) => until(event, req)),
    onError: errors.of(req as Request, service),
    onUnavailable,
    onLimit,
    heartbeatMs,
    retryMs,
  };
  const opened = onOpen && ((session: PubSubSession) => onOpen(session, req));
  await serveStream(service, request, sink, answer, opened);
  // These functions of the application get the request as long as the stream is open.
  if (!(filter ?? transform ?? until ?? revalidate ?? onOpen ?? options.onError)) dropRouting(req);
}

/** What `key` and the resolver returned. */
type Answers<Answer> = readonly [key: string | undefined, answer: Answer];

/** Calls `key` and the resolver. Returns no promise if both answer at once. */
function ask<Params, Answer>(
  key: SseStreamOptions<Params>["key"],
  resolver: (req: Request<Params>) => Answer | Promise<Answer>,
  req: Request<Params>,
): Answers<Answer> | Promise<Answers<Answer>> {
  const asked = key?.(req);
  if (isPromise(asked)) {
    // Async, so that an error that the resolver throws does not leave the promise of `key` without a handler.
    const answered = (async () => resolver(req))();
    return Promise.all([asked.then(readKey), answered]);
  }
  const name = readKey(asked);
  const answer = resolver(req);
  return isPromise(answer) ? Promise.resolve(answer).then((value) => [name, value]) : [name, answer];
}

/** Libraries have promises of their own. */
function isPromise<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as { readonly then?: unknown } | null | undefined)?.then === "function";
}

/** Returns the reason to refuse the request before the resolver runs. `null` if the request is valid. */
function findFault<Params>(
  req: Request<Params>,
  res: Response,
  isMethodAllowed: boolean,
): RedisSseError | null {
  if (ResponseSink.isPipelined(res)) {
    return new RedisSseError(
      "NO_SOCKET",
      "This connection has another unanswered request. Send one request at a time.",
    );
  }
  if (!isMethodAllowed) {
    return new RedisSseError(
      "METHOD_NOT_ALLOWED",
      `This stream does not accept ${req.method}. Mount it for that method (app.post()), or name it in the option methods.`,
    );
  }
  const { accept } = req.headers;
  if (accept !== EVENT_STREAM && accept !== undefined && !req.accepts(EVENT_STREAM)) {
    return new RedisSseError("NOT_ACCEPTABLE", "The Accept header excludes text/event-stream.");
  }
  // A completed stream needs no resolver, which may do work for each request.
  if (lastEventIdOf(req) === COMPLETED_ID) return new RedisSseError("COMPLETED", "this stream has ended");
  return null;
}

/**
 * Whether the application has mounted this handler for the method of the request: `app.post(path, sseStream(...))`.
 *
 * `req.route` can be an earlier route that called `next()`, so this checks that the route contains the handler.
 */
function isRouteOf<Params>(handler: RequestHandler<Params>, req: Request<Params>): boolean {
  const { stack } = (req.route ?? {}) as { readonly stack?: unknown };
  if (!Array.isArray(stack)) return false;
  const method = req.method.toLowerCase();
  return (stack as readonly { readonly handle?: unknown; readonly method?: string }[]).some(
    // A layer of `all()` has no method.
    (layer) => layer.handle === handler && (layer.method === undefined || layer.method === method),
  );
}

/** Checks the option `methods`. Throws `ConfigError`. */
export function assertMethods(methods: unknown): void {
  if (methods === undefined) return;
  if (!Array.isArray(methods) || methods.length === 0) {
    throw optionError("methods as a non-empty array of HTTP methods", methods);
  }
  for (const method of methods as readonly unknown[]) {
    if (typeof method === "string" && METHODS.includes(method)) continue;
    throw optionError('methods to hold HTTP methods in upper case, such as "POST"', method);
  }
}
