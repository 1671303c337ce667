import type { IncomingMessage, ServerResponse } from "node:http";
import type { ServerHttp2Stream } from "node:http2";

import type { SinkConnection } from "../lib/adapter.js";

/** The connection that a response goes over; `null` where there is none any more. */
export function connectionOf(req: IncomingMessage, res: ServerResponse): SinkConnection | null {
  const { stream } = res as { stream?: ServerHttp2Stream };
  if (stream === undefined) return req.socket ?? null;
  // What a response over HTTP/2 has as its socket stands for the stream in part: destroyed, it ends that alone.
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
