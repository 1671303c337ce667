import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";

import type {
  EncodedFrames,
  HttpAnswer,
  Sink,
  SinkConnection,
  SinkListener,
  StreamHead,
} from "../../lib/adapter.js";
import { RedisSseError } from "../../lib/index.js";
import { isWrittenByNode } from "./native-write.js";
import { connectionOf } from "./response-connection.js";

/** `compression()` adds this function. It sends the data that the compressor still holds. */
interface Flushable {
  flush?: () => void;
}

/** Errors that only mean that the client has left. */
const GONE: ReadonlySet<string> = new Set(["ECONNRESET", "EPIPE", "ERR_STREAM_PREMATURE_CLOSE"]);

/** Writes a stream to a response of `node:http`, or to a compatible response of `node:http2`. */
export class ResponseSink implements Sink {
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse & Flushable;
  /** The socket, if chunks are written directly to it. `null` if they are written to the response. */
  #socket: Socket | null = null;
  #listener: SinkListener | null = null;
  /** Most clients never need it. */
  #onDrain: (() => void) | null = null;

  constructor(req: IncomingMessage, res: ServerResponse) {
    this.#req = req;
    this.#res = res;
  }

  /**
   * Whether the response waits for an earlier response of its connection (HTTP pipelining). It has no socket yet.
   *
   * On Node 20 it gets no `close` event when the connection ends, so its stream would never be released.
   */
  static isPipelined(res: ServerResponse): boolean {
    return res.socket === null && !res.destroyed;
  }

  get closed(): boolean {
    // `writable` stays true after the client has left, and `close` may have fired before. An ended response is not closed until
    // its data is written. `writableFinished` alone is not enough: an HTTP/2 response to HEAD has it from the start. Over
    // HTTP/2, only the request's socket shows a cancelled stream.
    // Express gives each response another hidden class, so each property that is read costs a slow lookup.
    const res = this.#res;
    if (res.destroyed || res.closed || (res.writableEnded && res.writableFinished)) return true;
    return (this.#req.socket as { destroyed?: boolean } | undefined)?.destroyed === true;
  }

  get connection(): SinkConnection | null {
    return connectionOf(this.#req, this.#res);
  }

  /** Whether the client is connected and has no answer yet. Throws if the head of another response was sent. */
  canAnswer(): boolean {
    if (this.closed) return false;
    if (!this.#res.headersSent) return true;
    if (this.#res.writableEnded) return false;
    throw new RedisSseError(
      "HEADERS_SENT",
      "The head of the response was sent before the stream could begin, by an earlier middleware or by the resolver. " +
        "Mount the stream before that middleware, and do not call res.flushHeaders() or res.write().",
    );
  }

  start({ status, headers }: StreamHead, block: EncodedFrames): boolean {
    const res = this.#res;
    // The idle timeout of the server would end a silent stream.
    this.#req.setTimeout(0);
    // Until the request body is read, Node does not read the socket and cannot notice that the client left.
    if (hasBody(this.#req)) this.#req.resume();
    this.#endConnectionAfter();
    const socket = isWrittenByNode(res) ? res.socket : null;
    // The head and the first block go out in one packet.
    socket?.cork();
    try {
      if (res.hasHeader("Content-Length")) res.removeHeader("Content-Length");
      res.writeHead(status, headers);
      res.flushHeaders();
      // Check again, because compression middleware replaces `write` when the head is sent.
      // A complete chunk on the socket needs one write. The response needs three writes and one more event-loop turn.
      if (socket !== null && res.chunkedEncoding && isWrittenByNode(res)) this.#socket = socket;
      return this.write(block);
    } finally {
      socket?.uncork();
    }
  }

  write(block: EncodedFrames): boolean {
    const socket = this.#socket;
    // If the application has ended the response, the chunked coding has ended too.
    if (socket !== null && !this.#res.writableEnded) {
      // `socket.write()` returns false above the high-water mark, even if the system has already taken all data.
      const taken = socket.write(block.chunk) || socket.writableLength === 0;
      if (!taken) this.#awaitDrain(socket);
      return taken;
    }
    const taken = this.#res.write(block.payload);
    this.#res.flush?.();
    if (!taken) this.#awaitDrain(this.#res);
    return taken;
  }

  /** Listens from the first write that must drain. */
  #awaitDrain(target: Socket | ServerResponse): void {
    if (this.#onDrain !== null) return;
    this.#onDrain = () => this.#listener?.onDrain();
    target.on("drain", this.#onDrain);
  }

  get pendingBytes(): number {
    return this.#res.writableLength;
  }

  end(): void {
    if (!this.#res.writableEnded) this.#res.end();
  }

  destroy(): void {
    this.#res.destroy();
  }

  answer({ status, headers, body }: HttpAnswer): void {
    if (!this.canAnswer()) return;
    if (status === 200 || status === 503) this.#endConnectionAfter();
    // Other middleware may have set the length of another body.
    if (this.#res.hasHeader("Content-Length")) {
      if (body.length > 0) this.#res.setHeader("Content-Length", body.length);
      else this.#res.removeHeader("Content-Length");
    }
    this.#res.writeHead(status, headers);
    this.#res.end(body);
  }

  /**
   * Closes an HTTP/1.1 connection after this response. Otherwise the browser reconnects on it, and `server.close()` waits until
   * it leaves. HTTP/2 closes its connections without such a header.
   */
  #endConnectionAfter(): void {
    if (this.#req.httpVersionMajor === 1) this.#res.shouldKeepAlive = false;
  }

  attach(listener: SinkListener): () => void {
    const res = this.#res;
    this.#listener = listener;
    // `close` has no error.
    const onEnd = (error?: NodeJS.ErrnoException): void =>
      listener.onClose(error instanceof Error && !GONE.has(error.code ?? ""));
    // Not the request: it closes as soon as its body is read.
    res.on("close", onEnd);
    res.on("error", onEnd);
    res.off("error", ignore);
    return () => {
      this.#listener = null;
      res.off("close", onEnd);
      // A later write error has no other listener. Without one, Node would end the process.
      res.on("error", ignore);
      res.off("error", onEnd);
      if (this.#onDrain === null) return;
      (this.#socket ?? res).off("drain", this.#onDrain);
      this.#onDrain = null;
    };
  }
}

/** Whether a request may have a body: RFC 9112 6.3. HTTP/2 needs no header for it. */
function hasBody({ headers, httpVersionMajor }: IncomingMessage): boolean {
  return (
    httpVersionMajor !== 1 ||
    headers["content-length"] !== undefined ||
    headers["transfer-encoding"] !== undefined
  );
}

function ignore(): void {}
