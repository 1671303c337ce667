import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

import express from "express";

import { createRedisSse, type RevocationTarget, type RevokeOptions } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";

/** An app in a separate process. It revokes over IPC. Argument: the URL of Redis. */

/** A call of `revoke()`. */
export type Order = readonly [RevocationTarget, RevokeOptions?];

export type Message =
  { readonly port: number } | { readonly count: number; readonly tookMs: number } | { readonly code: string };

const sse = createRedisSse({ redis: process.argv[2]! });
const app = express();
app.get(
  "/stream",
  sseStream(({ query }) => ({ channels: query["channel"] as string, key: query["key"] as string }), {
    service: sse,
  }),
);

const send = (message: Message): void => void process.send!(message);

process.on("message", ([target, options]: Order) => {
  const startedAt = performance.now();
  sse.revoke(target, options).then(
    (count) => send({ count, tookMs: performance.now() - startedAt }),
    (error: { readonly code: string }) => send({ code: error.code }),
  );
});

const server = createServer(app).listen(0, "127.0.0.1", () =>
  send({ port: (server.address() as AddressInfo).port }),
);
