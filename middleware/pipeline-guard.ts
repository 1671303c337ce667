import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";

/**
 * Node's HTTP parser of a connection. It is not documented, but `onIncoming` has been there since Node 0.4. Node's public
 * events come too late: they fire after a response was made and queued, and not at all for a request that Node answers
 * itself (a missing `Host`, an unknown `Expect`).
 */
interface Parser {
  /** The request that was parsed last. */
  readonly incoming?: IncomingMessage | null;
  /** Called for each request of the connection, before its response is made. */
  onIncoming?: ((req: IncomingMessage, shouldKeepAlive: boolean) => number | undefined) | null;
}

/**
 * Destroys the connection of a stream if the client pipelines a further request behind it, until the response closes.
 * The answer to that request would have to wait until the stream ends, and each waiting request costs several kilobytes.
 */
export function guardPipeline(req: IncomingMessage, res: ServerResponse): void {
  const { socket } = req;
  const { parser } = socket as Socket & { readonly parser?: Parser | null };
  // HTTP/2 answers in any order, and has no such parser.
  if (req.httpVersionMajor !== 1 || !parser?.onIncoming) return;
  if (hasNext(parser, req)) return void socket.destroy();
  const { onIncoming } = parser;
  const cut = (): number => {
    socket.destroy();
    return 0;
  };
  parser.onIncoming = cut;
  res.once("close", () => {
    // Node may have given the parser to another connection.
    if (parser.onIncoming === cut) parser.onIncoming = onIncoming;
  });
}

/** Whether Node parsed a further request of this connection while an earlier middleware was waiting. */
function hasNext({ incoming }: Parser, req: IncomingMessage): boolean {
  // A framework may wrap a request, but its raw headers stay the same array.
  return incoming !== null && incoming !== undefined && incoming.rawHeaders !== req.rawHeaders;
}
