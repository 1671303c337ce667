import { once } from "node:events";
import type { Server } from "node:http";

import express, { type Express, type Request } from "express";

import { createRedisSse, type QueueService, type RedisSse } from "../../lib/index.js";

/** Real values of the names that code blocks of the documentation use without defining them. */

export const sse: RedisSse = createRedisSse();

export const app: Express = express();

export const server: Server = app.listen(0, "127.0.0.1");
await once(server, "listening");

export const queue: QueueService = sse.queue("reports");

export function userOf(req: Request): string {
  const { user } = req.query;
  return typeof user === "string" ? user : "nobody";
}

/** A language model that answers with three tokens. */
export const model: AsyncIterable<string> = {
  async *[Symbol.asyncIterator]() {
    yield* ["Hello", ", ", "world"];
  },
};

export async function readState(): Promise<unknown> {
  return { orders: [] };
}
