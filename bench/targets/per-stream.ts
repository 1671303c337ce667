/** A hand-written solution with one Redis connection per stream. */
import { createServer } from "node:http";

import express from "express";
import { Redis } from "ioredis";

import { announce, redisUrl } from "./support/announce.js";
import { channelOf, SSE_HEADERS } from "./support/channel-of.js";

const app = express();
app.get("/stream", async (req, res) => {
  const subscriber = new Redis(redisUrl);
  subscriber.on("message", (_channel, data) => res.write(`data: ${data}\n\n`));
  res.on("close", () => subscriber.disconnect());
  await subscriber.subscribe(channelOf(req));
  res.writeHead(200, SSE_HEADERS);
  res.write(": open\n\n");
});
announce(createServer(app));
