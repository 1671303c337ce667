import http from "node:http";
import http2, { type ClientHttp2Session } from "node:http2";
import net, { type Socket } from "node:net";
import tls from "node:tls";

import { openHttp2Stream } from "../support/http2-app.js";
import { readStream, type ReceivedEvent } from "../support/sse-client.js";
import { PORTS, SECRET, TLS, type ClientOrder, type ClientReport } from "./lost-peers-protocol.js";

/** Clients in a separate network namespace. They take orders over IPC until they are killed. */

interface Stream {
  readonly events: readonly ReceivedEvent[];
  pause?(): void;
}

const streams = new Map<string, Stream>();
let http2Session: ClientHttp2Session | null = null;

process.on("message", (order: ClientOrder) => {
  switch (order.order) {
    case "open":
      return open(order);
    case "pause":
      return streams.get(order.name)!.pause!();
    case "report":
      return void process.send!(report());
  }
});
process.send!("ready");

function report(): ClientReport {
  return Object.fromEntries(Array.from(streams, ([name, { events }]) => [name, events]));
}

function open(order: ClientOrder & { readonly order: "open" }): void {
  const { name, way } = order;
  const path = `/stream?channel=a&name=${encodeURIComponent(name)}`;
  const createConnection = (): Socket => connect(order);
  if (way === "http2") {
    http2Session ??= http2.connect("http://app", { createConnection }).on("error", () => {});
    streams.set(name, openHttp2Stream(http2Session, path));
    return;
  }
  const request = http.get({ path, createConnection, headers: { Accept: "text/event-stream" } });
  request.on("error", () => {});
  request.on("response", (response) => streams.set(name, readStream(request, response)));
}

function connect({ way, host, from }: ClientOrder & { readonly order: "open" }): Socket {
  const socket = net.connect({ host, port: PORTS[way], localAddress: from });
  if (way !== "tls") return socket;
  const psk = Buffer.from(SECRET);
  const pskCallback = (): tls.PSKCallbackNegotation => ({ psk, identity: "client" });
  return tls.connect({ ...TLS, socket, pskCallback, checkServerIdentity: () => undefined });
}
