import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";

import type {
  EncodedFrames,
  HttpAnswer,
  Sink,
  SinkConnection,
  SinkListener,
  StreamHead,
} from "../lib/adapter.js";
import { RedisSseError } from "../lib/index.js";
import { isWrittenByNode } from "./native-write.js";
import { connectionOf } from "./response-connection.js";

/** What compression() adds to a response, to let go of what it holds back. */
interface Flushable {
  flush?: () => void;
}

/** Errors that say no more than that the client has left. */
const GONE: ReadonlySet<string> = new Set(["ECONNRESET", "EPIPE", "ERR_STREAM_PREMATURE_CLOSE"]);

/** A sink over the response of `node:http` or the compatible one of `node:http2`, as Express passes it on. */
export class ResponseSink implements Sink {
  readonly #req: IncomingMessage;
  readonly #res: ServerResponse & Flushable;
  /** Where whole chunks are written to, past the response; `null`: the response does that. */
  #socket: Socket | null = null;
  #listener: SinkListener | null = null;

  constructor(req: IncomingMessage, res: ServerResponse) {
    this.#req = req;
    this.#res = res;
  }

  /**
   * A response that waits behind another on its connection (HTTP pipelining) has no socket yet, and on
   * Node 20 never gets a `close` when that connection ends: whatever was opened for it would stay for ever.
   */
  static isPipelined(res: ServerResponse): boolean {
    return res.socket === null && !res.destroyed;
  }

  get closed(): boolean {
    // `writable` stays true on a response whose client has left, and `close` does not come a second time. One
    // that was ended is not closed before all of it went out. The answer to HEAD over HTTP/2 has nothing to write,
    // and is finished before it has begun. (Of HTTP/2 it is the request's socket that tells of a cancelled stream.)
    const { destroyed, closed, writableEnded, writableFinished } = this.#res;
    const socket = this.#req.socket as { destroyed?: boolean } | undefined;
    return destroyed || closed || (writableEnded && writableFinished) || socket?.destroyed === true;
  }

  get connection(): SinkConnection | null {
    return connectionOf(this.#req, this.#res);
  }

  /** Whether the client is connected and has no answer yet. Throws if the head of another response was sent. */
  canAnswer(): boolean {
    if (this.closed || this.#res.writableEnded) return false;
    if (!this.#res.headersSent) return true;
    throw new RedisSseError(
      "HEADERS_SENT",
      "The head of the response was sent before the stream could begin, by an earlier middleware or by the resolver. " +
        "Mount the stream before that middleware, and do not call res.flushHeaders() or res.write().",
    );
  }

  start({ status, headers }: StreamHead, block: EncodedFrames): boolean {
    const res = this.#res;
    // A server-wide idle timeout would cut a stream that is only silent.
    this.#req.setTimeout(0);
    // While a body waits to be read, Node does not read the socket and cannot see that the client left.
    this.#req.resume();
    this.#endConnectionAfter();
    const socket = isWrittenByNode(res) ? res.socket : null;
    // Head and first frames in one packet.
    socket?.cork();
    try {
      if (res.hasHeader("Content-Length")) res.removeHeader("Content-Length");
      res.writeHead(status, headers);
      res.flushHeaders();
      // Asked again: compression and its like put themselves in place when the head goes out.
      if (socket !== null && res.chunkedEncoding && isWrittenByNode(res)) this.#writePast(socket);
      return this.write(block);
    } finally {
      socket?.uncork();
    }
  }

  write(block: EncodedFrames): boolean {
    const socket = this.#socket;
    // An application that has ended its response has ended the coding too.
    if (socket !== null && !this.#res.writableEnded) {
      // It says false for whatever exceeds its mark, also when the system has taken all of it.
      return socket.write(block.chunk) || socket.writableLength === 0;
    }
    const taken = this.#res.write(block.payload);
    this.#res.flush?.();
    return taken;
  }

  /**
   * From now on whole chunks go to the socket: over HTTP/1.1 in chunked coding, with the head out, they are ours to
   * write. That is one write, where the response makes three of it and a turn of the loop. Decided once, here.
   */
  #writePast(socket: Socket): void {
    this.#socket = socket;
    socket.on("drain", this.#onDrain);
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
    // What other middleware has said of the length of a body is not of this one.
    if (this.#res.hasHeader("Content-Length")) {
      if (body.length > 0) this.#res.setHeader("Content-Length", body.length);
      else this.#res.removeHeader("Content-Length");
    }
    this.#res.writeHead(status, headers);
    this.#res.end(body);
  }

  /**
   * Over HTTP/1.1 a browser comes back on the connection it has: a server that drains would never be rid of it,
   * and `server.close()` would wait for ever. (HTTP/2 has no such header, and says goodbye by itself.)
   */
  #endConnectionAfter(): void {
    if (this.#req.httpVersionMajor === 1) this.#res.shouldKeepAlive = false;
  }

  attach(listener: SinkListener): () => void {
    const res = this.#res;
    this.#listener = listener;
    // The response, not the request: that one closes as soon as its body is read.
    const onClose = (): void => listener.onClose(false);
    const onError = (error: NodeJS.ErrnoException): void => listener.onClose(!GONE.has(error.code ?? ""));
    res.on("drain", this.#onDrain);
    res.on("close", onClose);
    res.on("error", onError);
    return () => {
      this.#listener = null;
      res.off("drain", this.#onDrain);
      this.#socket?.off("drain", this.#onDrain);
      res.off("close", onClose);
      res.off("error", onError);
      // A write that fails after all this has nobody to tell, and must not end the process.
      res.off("error", ignore);
      res.on("error", ignore);
    };
  }

  readonly #onDrain = (): void => this.#listener?.onDrain();
}

function ignore(): void {}
