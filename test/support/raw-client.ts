import { once } from "node:events";
import type { Server } from "node:http";
import { connect, type Socket } from "node:net";

import { expect } from "chai";

import { eventually } from "./eventually.js";

/** A socket that says to a server what no HTTP client would, and in the way it likes. */
export interface RawClient {
  readonly socket: Socket;
  /** What came back, as it came. */
  readonly text: string;
  /** The statuses of the answers so far. */
  readonly statuses: readonly number[];
  /** Resolves when the text holds this. */
  until(part: string): Promise<void>;
  /** Resolves when the connection is over, whoever ended it. */
  readonly closed: Promise<unknown>;
}

/** Connects to the server of `url`, and says `text`. */
export async function openRaw(url: string, text: string): Promise<RawClient> {
  const socket = connect({ port: Number(new URL(url).port), host: "127.0.0.1", allowHalfOpen: true });
  socket.on("error", () => {}); // a connection that is cut is not a fault of the test
  const closed = new Promise((resolve) => socket.once("close", resolve));
  let received = "";
  socket.setEncoding("latin1").on("data", (chunk: string) => (received += chunk));
  // The server's FIN is the end, as it is for every client that does not keep its own half open.
  socket.on("end", () => socket.end());
  await once(socket, "connect");
  socket.write(text);
  return {
    socket,
    get text() {
      return received;
    },
    get statuses() {
      return Array.from(received.matchAll(/^HTTP\/1\.1 (\d{3}) /gm), ([, status]) => Number(status));
    },
    until: (part) => eventually(() => void expect(received).to.include(part), 10_000),
    closed,
  };
}

/** A whole GET, as a browser's EventSource says it. */
export function getRequest(path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n`;
}

/** Resolves when no client is connected to a server any more, as the server sees it. */
export async function untilNobodyIsConnected(server: Server): Promise<void> {
  await eventually(async () => {
    const count = await new Promise<number>((resolve, reject) =>
      server.getConnections((error, open) => (error ? reject(error) : resolve(open))),
    );
    expect(count, "connections to the app").to.equal(0);
  }, 10_000);
}
