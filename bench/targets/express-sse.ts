/** express-sse has no channels: all clients of an object get all events. */
import { createServer } from "node:http";

import express from "express";
import SSE from "express-sse";

import { announce } from "./support/announce.js";
import { channelOf } from "./support/channel-of.js";
import { createFeed } from "./support/feed.js";

const sse = new SSE();
const feed = createFeed((_channel, data) => sse.send(data));
const app = express();
app.get("/stream", async (req, res) => {
  await feed.join(channelOf(req));
  res.on("close", () => feed.leave(channelOf(req)));
  sse.init(req, res);
  // express-sse sends nothing before the first event, but the load client waits for a first byte.
  res.write(": open\n\n");
});
announce(createServer(app));
