import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

import { parseChunked, type ChunkedBody } from "./chunked.js";
import { parseEvents, type ReceivedEvent } from "./event-reader.js";
import { eventually } from "./eventually.js";

/** A raw socket. It sends any text, also invalid HTTP, and keeps every byte of the answer. */
export interface WireClient {
  readonly socket: Socket;
  /** The received bytes. */
  readonly packets: readonly Buffer[];
  /** The same as text, one character per byte. */
  readonly received: string;
  /** The statuses of the answers so far. */
  readonly statuses: readonly number[];
  /** The status line and the headers. Empty before they arrive. */
  readonly head: string;
  /** The bytes after the headers, unparsed. */
  readonly raw: Buffer;
  /** The body parsed strictly as chunks. Throws if it is not valid. */
  readonly body: ChunkedBody;
  /** The text of all chunks. */
  readonly text: string;
  readonly events: readonly ReceivedEvent[];
  /** Resolves when the text of the chunks contains this text. */
  until(part: string): Promise<void>;
  /** Resolves when either side has closed the connection. */
  readonly closed: Promise<unknown>;
}

/** Connects to the server of `url` and sends `text`. */
export async function openWire(url: string, text: string): Promise<WireClient> {
  const { port, protocol } = new URL(url);
  const to = { port: Number(port), host: "127.0.0.1" };
  const isSecure = protocol === "https:";
  const socket = isSecure ? connectTls({ ...to, rejectUnauthorized: false }) : connect(to);
  socket.on("error", () => {}); // a lost connection is not an error of the test
  const closed = new Promise((resolve) => socket.once("close", resolve));
  const packets: Buffer[] = [];
  socket.on("data", (packet: Buffer) => packets.push(packet));
  await once(socket, isSecure ? "secureConnect" : "connect");
  socket.write(text);
  const split = (): [head: string, raw: Buffer] => {
    const bytes = Buffer.concat(packets);
    const end = bytes.indexOf("\r\n\r\n");
    return end < 0 ? ["", Buffer.alloc(0)] : [bytes.toString("latin1", 0, end), bytes.subarray(end + 4)];
  };
  const client: WireClient = {
    socket,
    packets,
    get received() {
      return Buffer.concat(packets).toString("latin1");
    },
    get statuses() {
      return Array.from(client.received.matchAll(/^HTTP\/1\.1 (\d{3}) /gm), ([, status]) => Number(status));
    },
    get head() {
      return split()[0];
    },
    get raw() {
      return split()[1];
    },
    get body() {
      return parseChunked(client.raw);
    },
    get text() {
      return Buffer.concat(client.body.chunks).toString();
    },
    get events() {
      return parseEvents(client.text);
    },
    until: (part) =>
      eventually(() => {
        if (!client.text.includes(part)) throw new Error(`no ${part} in ${client.text.slice(-500)}`);
      }, 10_000),
    closed,
  };
  return client;
}

/** A complete GET request, as a browser's EventSource sends it. */
export function getRequest(path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n`;
}
