import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";

/**
 * Node's HTTP parser of a connection. It is not documented, but `onIncoming` has existed since Node 0.4.
 *
 * Node's public events fire only after a response was created and queued. If Node answers a request itself (a missing
 * `Host`, an unknown `Expect`), they do not fire.
 */
interface Parser {
  /** The latest request. */
  readonly incoming?: IncomingMessage | null;
  /** Called for each request of the connection, before its response is made. */
  onIncoming?: ((this: Parser, req: IncomingMessage, shouldKeepAlive: boolean) => number | undefined) | null;
}

/**
 * Destroys the connection of a stream if the client sends another request on it before the response closes (pipelining).
 *
 * The answer to that request would wait until the stream ends, and each waiting request takes several kilobytes of memory.
 */
export function guardPipeline(req: IncomingMessage, res: ServerResponse): void {
  const { socket } = req;
  const { parser } = socket as Socket & { readonly parser?: Parser | null };
  // HTTP/2 has no such parser, and answers requests in any order.
  if (req.httpVersionMajor !== 1 || !parser?.onIncoming) return;
  if (hasNext(parser, req)) return void socket.destroy();
  const { onIncoming } = parser;
  // A listener of `close` would take more memory for each open stream than this check.
  parser.onIncoming = (next, shouldKeepAlive) => {
    if (res.closed) {
      parser.onIncoming = onIncoming;
      return onIncoming.call(parser, next, shouldKeepAlive);
    }
    socket.destroy();
    return 0;
  };
}

/** Whether Node parsed a further request of this connection while an earlier middleware was waiting. */
function hasNext({ incoming }: Parser, req: IncomingMessage): boolean {
  // A framework may wrap a request, but its raw headers stay the same array.
  return incoming !== null && incoming !== undefined && incoming.rawHeaders !== req.rawHeaders;
}
