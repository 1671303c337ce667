import type { IncomingMessage, ServerResponse } from "node:http";
import type { ServerHttp2Stream } from "node:http2";

import type { SinkConnection } from "../../lib/adapter.js";

/** Returns the connection of a response. Returns `null` if the connection has ended. */
export function connectionOf(req: IncomingMessage, res: ServerResponse): SinkConnection | null {
  const { stream } = res as { stream?: ServerHttp2Stream };
  if (stream === undefined) return req.socket ?? null;
  // Over HTTP/2, `req.socket` is a proxy. Its `destroy()` ends only this stream, not the connection.
  const { localAddress, localPort, remoteAddress, remotePort } = req.socket;
  const { session } = stream;
  return {
    localAddress,
    localPort,
    remoteAddress,
    remotePort,
    get errored() {
      return stream.errored;
    },
    setKeepAlive: (enable, initialDelayMs) => req.socket.setKeepAlive(enable, initialDelayMs),
    destroy: () => session?.destroy(),
  };
}
