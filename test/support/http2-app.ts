import { once } from "node:events";
import {
  connect,
  constants,
  createServer,
  Http2ServerRequest,
  Http2ServerResponse,
  type ClientHttp2Session,
} from "node:http2";
import type { AddressInfo } from "node:net";

import express, { type Express } from "express";

import { parseEvents, type ReceivedEvent } from "./sse-client.js";

/** An Express app over HTTP/2 without TLS. */
export interface Http2App {
  readonly url: string;
  /** One client connection. It can carry any number of streams. */
  connect(): ClientHttp2Session;
  close(): Promise<void>;
}

export async function startHttp2App(mount: (app: Express) => void): Promise<Http2App> {
  const app = forHttp2(express());
  mount(app);
  const server = createServer(app as never).listen(0, "127.0.0.1");
  await once(server, "listening");
  const sessions: ClientHttp2Session[] = [];
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    connect() {
      const session = connect(url);
      session.on("error", () => {});
      sessions.push(session);
      return session;
    },
    async close() {
      for (const session of sessions) session.destroy();
      const closed = once(server, "close");
      server.close();
      await closed;
    },
  };
}

/** Express sets its own prototypes on every request and response. They are made for HTTP/1. */
export function forHttp2(app: Express): Express {
  app.request = onTopOf(Http2ServerRequest.prototype, express.request, app);
  app.response = onTopOf(Http2ServerResponse.prototype, express.response, app);
  return app;
}

function onTopOf<Own extends object>(base: object, own: Own, app: Express): Own {
  const prototype = Object.create(base, Object.getOwnPropertyDescriptors(own)) as object;
  return Object.create(prototype, {
    app: { configurable: true, enumerable: true, writable: true, value: app },
  }) as Own;
}

/** One event stream on a connection with other streams. */
export interface Http2Stream {
  readonly events: readonly ReceivedEvent[];
  /** The received `:status`. */
  readonly status: number | undefined;
  /** Cancels only this stream (RST_STREAM). */
  cancel(): void;
}

export function openHttp2Stream(session: ClientHttp2Session, path: string): Http2Stream {
  const stream = session.request({ ":path": path, accept: "text/event-stream" });
  let text = "";
  let status: number | undefined;
  stream.on("error", () => {});
  stream.on("response", (headers) => (status = headers[":status"]));
  stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  return {
    get events() {
      return parseEvents(text);
    },
    get status() {
      return status;
    },
    cancel: () => stream.close(constants.NGHTTP2_CANCEL),
  };
}
