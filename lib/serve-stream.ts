import { RedisSseError } from "./errors.js";
import { isMessageFault } from "./events/outbound-message.js";
import type { RedisSse } from "./redis-sse.js";
import type { PubSubSession } from "./sessions/session.js";
import type { Sink, StreamRequest } from "./sessions/sink.js";
import type { AccessAnswer } from "./sessions/stream-access.js";
import { answerTo, streamHead } from "./sse/http-answer.js";
import { isRedisSseError } from "./thrown.js";

/**
 * Opens a stream for an adapter, with the answer of the resolver.
 *
 * A HEAD request gets the same head as a GET request, but no stream. If the stream is refused, the client gets an answer, and
 * the promise resolves. If an event of `first` is invalid, the client gets no answer, and the promise rejects with
 * `INVALID_EVENT`, `UNSERIALIZABLE` or `EVENT_TOO_LARGE`.
 *
 * `onOpen` is called when the stream is open. If it fails, the client gets an `error` event (`INTERNAL`), and the session is
 * closed. The promise rejects with the error of `onOpen`.
 */
export async function serveStream(
  service: Pick<RedisSse, "check" | "open">,
  request: StreamRequest,
  sink: Sink,
  answer: AccessAnswer,
  onOpen?: (session: PubSubSession) => void | Promise<void>,
): Promise<void> {
  if (sink.closed) return;
  if (request.method === "HEAD") {
    const fault = service.check(request, answer);
    if (fault !== null && isMessageFault(fault)) throw fault;
    return sink.answer(fault ? answerTo(fault, request) : { ...streamHead, body: Buffer.alloc(0) });
  }
  let session: PubSubSession;
  try {
    session = await service.open(request, sink, answer);
  } catch (error) {
    if (isRedisSseError(error) && !isMessageFault(error)) return; // open() has answered the client.
    throw error;
  }
  if (onOpen === undefined || session.state !== "subscribed") return;
  try {
    await onOpen(session);
  } catch (error) {
    await session.close("app", new RedisSseError("INTERNAL", "an unexpected error"));
    throw error;
  }
}
