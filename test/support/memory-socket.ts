import type { Server } from "node:http";
import { Duplex } from "node:stream";

import { getRequest } from "./wire-client.js";

/**
 * A client without a network. An HTTP server uses it as the socket of a connection, so that every write of the server can be
 * counted, and nothing of a client runs in the process.
 */
export class MemorySocket extends Duplex {
  /** The data of each write. A real socket makes one system call for each of them. */
  readonly writes: (readonly (Buffer | string)[])[] = [];

  constructor() {
    // As in a real socket, text stays text.
    super({ decodeStrings: false });
  }

  /** Connects to the server and sends a request. */
  static open(server: Server, path: string, lastEventId?: string): MemorySocket {
    const socket = new MemorySocket();
    server.emit("connection", socket);
    const header = lastEventId === undefined ? "" : `Last-Event-ID: ${lastEventId}\r\n`;
    socket.push(getRequest(path).replace("\r\n\r\n", `\r\n${header}\r\n`));
    return socket;
  }

  /** Everything that the server has written. */
  get text(): string {
    return this.writes.flat().join("");
  }

  override _read(): void {}

  override _write(chunk: Buffer | string, _encoding: BufferEncoding, done: () => void): void {
    this.writes.push([chunk]);
    done();
  }

  override _writev(chunks: readonly { readonly chunk: Buffer | string }[], done: () => void): void {
    this.writes.push(chunks.map(({ chunk }) => chunk));
    done();
  }

  // The functions of a socket that Node's HTTP server and this library call.
  setNoDelay(): void {}
  setKeepAlive(): void {}
  setTimeout(): void {}
}
