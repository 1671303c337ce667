import type { AddressInfo } from "node:net";

import express from "express";

import { createRedisSse } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";
import { deferred } from "../support/eventually.js";

/**
 * One process of a rolling restart. It ends as docs/operations.md recommends. Arguments: the URL of Redis, and the options as
 * JSON.
 */

export interface RollingOptions {
  readonly retryMs: number;
  readonly timeoutMs: number;
  readonly spreadMs: number;
}

const [, , redis, options] = process.argv as [string, string, string, string];
const { retryMs, timeoutMs, spreadMs } = JSON.parse(options) as RollingOptions;

const sse = createRedisSse({ redis, retryMs });
/** Resolves when the load balancer knows that this process takes no new streams. */
const noticed = deferred();

const app = express();
app.get("/ready", (_req, res) => {
  const isReady = sse.check() === null;
  res.sendStatus(isReady ? 200 : 503);
  if (!isReady) res.once("close", () => noticed.resolve());
});
app.get(
  "/events",
  sseStream(() => "news", { service: sse }),
);

const server = app.listen(0, "127.0.0.1", () =>
  process.send!({ port: (server.address() as AddressInfo).port }),
);

process.once("SIGTERM", () => {
  void (async () => {
    await sse.drain({ timeoutMs, spreadMs, beforeStreamsEnd: () => noticed.promise });
    server.close();
    await sse.close();
    process.disconnect();
  })();
});
