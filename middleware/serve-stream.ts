import type { Request } from "express";

import {
  answerTo,
  RedisSseError,
  streamHead,
  type ChannelSelection,
  type PubSubSession,
  type StreamRequest,
} from "../lib/index.js";
import { lastEventIdOf } from "./last-event-id.js";
import type { RuleErrors } from "./rule-errors.js";
import type { SseStreamOptions } from "./stream-options.js";
import { canAnswer, type Visit } from "./stream-handler.js";

/** Opens the stream, or answers HEAD. Rejects only with an error that the application threw. */
export async function serveStream<Params>(
  visit: Visit<Params>,
  selection: ChannelSelection,
  options: SseStreamOptions<Params>,
  errors: RuleErrors,
): Promise<void> {
  const { req, sink, service } = visit;
  if (!canAnswer(sink)) return;
  const request = streamRequest(visit, options, errors);
  if (req.method === "HEAD") {
    // The head that GET would get. No stream opens.
    const fault = service.check(request, selection);
    return sink.answer(
      fault === null ? { ...streamHead, body: Buffer.alloc(0) } : answerTo(fault, visit.answer),
    );
  }
  let session: PubSubSession;
  try {
    session = await service.open(request, sink, selection);
  } catch (error) {
    if (error instanceof RedisSseError) return; // the client got its answer from open()
    throw error;
  }
  if (session.state !== "subscribed") return;
  try {
    await options.onOpen?.(session, req);
  } catch (error) {
    // The client learns that something failed, the application what.
    await session.close("app", new RedisSseError("INTERNAL", "an unexpected error"));
    throw error;
  }
}

function streamRequest<Params>(
  { req, key }: Visit<Params>,
  options: SseStreamOptions<Params>,
  errors: RuleErrors,
): StreamRequest {
  const { first, from, filter, transform, until, slowConsumer } = options;
  const { onUnavailable, onLimit, heartbeatMs, retryMs } = options;
  return {
    key,
    first: first?.(req),
    lastEventId: lastEventIdOf(req) ?? (from === "earliest" ? "earliest" : undefined),
    filter: filter && ((event) => filter(event, req)),
    transform: transform && ((event) => transform(event, req)),
    slowConsumer,
    until: until && ((event) => until(event, req)),
    onError: errors.of(req as Request),
    onUnavailable,
    onLimit,
    heartbeatMs,
    retryMs,
  };
}
