/** A typical solution without a library: one Redis subscriber, a Map from channels to responses, and `res.write`. */
import { createServer } from "node:http";

import express, { type Response } from "express";

import { announce } from "./support/announce.js";
import { channelOf, SSE_HEADERS } from "./support/channel-of.js";
import { createFeed } from "./support/feed.js";

const listeners = new Map<string, Set<Response>>();
const feed = createFeed((channel, data) => {
  for (const res of listeners.get(channel) ?? []) res.write(`data: ${data}\n\n`);
});
const app = express();
app.get("/stream", async (req, res) => {
  const channel = channelOf(req);
  await feed.join(channel);
  const set = listeners.get(channel) ?? new Set();
  listeners.set(channel, set.add(res));
  res.on("close", () => {
    set.delete(res);
    if (set.size === 0) listeners.delete(channel);
    feed.leave(channel);
  });
  res.writeHead(200, SSE_HEADERS);
  res.write(": open\n\n");
});
announce(createServer(app));
