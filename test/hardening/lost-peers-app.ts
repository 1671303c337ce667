import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import { createServer as createHttpsServer } from "node:https";

import express, { type Express } from "express";

import { createRedisSse, type RedisSseOptions } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";
import { forHttp2 } from "../support/http2-app.js";
import { PORTS, SECRET, TLS, type AppOrder, type AppReport } from "./lost-peers-protocol.js";

/**
 * An app in a separate network namespace, where its ports are free. It takes orders over IPC, and must exit by
 * itself after `end`. Argument: the options of its service, as JSON.
 */

const service = createRedisSse(JSON.parse(process.argv[2]!) as RedisSseOptions);
const reasons: Record<string, string | null> = {};
const pskCallback = (): Buffer => Buffer.from(SECRET);
const app = mount(express());
const servers = [
  createServer(app).listen(PORTS.ipv4, "0.0.0.0"),
  createServer(app).listen(PORTS.both, "::"),
  createHttpsServer({ ...TLS, pskCallback }, app).listen(PORTS.tls, "0.0.0.0"),
  createHttp2Server(mount(forHttp2(express())) as never).listen(PORTS.http2, "0.0.0.0"),
] as const;
await Promise.all(servers.map((server) => once(server, "listening")));
process.on("message", (order: AppOrder) => void (order === "report" ? report() : end()));
process.send!("listening");

function mount(app: Express): Express {
  return app.get(
    "/stream",
    sseStream((req) => req.query["channel"] as string, {
      service,
      onOpen(session, req) {
        void session.closed.then(() => (reasons[req.query["name"] as string] = session.closeReason));
      },
    }),
  );
}

async function report(): Promise<void> {
  const { sessions } = await service.status({ drift: false });
  const counts = await Promise.all(servers.map((server) => countConnections(server as Server)));
  const connections = counts.reduce((sum, count) => sum + count);
  process.send!({ sessions, reasons, connections } satisfies AppReport);
}

async function end(): Promise<void> {
  for (const server of servers) server.close();
  await service.close();
  process.disconnect();
}

function countConnections(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error ? reject(error) : resolve(count)));
  });
}
