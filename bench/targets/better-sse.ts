import { createServer } from "node:http";

import { createChannel, createSession, type Channel } from "better-sse";
import express from "express";

import { announce } from "./support/announce.js";
import { channelOf } from "./support/channel-of.js";
import { createFeed } from "./support/feed.js";

const channels = new Map<string, Channel>();
const feed = createFeed((name, data) => channels.get(name)?.broadcast(data));

function open(name: string): Channel {
  const channel = createChannel();
  channels.set(name, channel);
  channel.on("session-deregistered", () => {
    feed.leave(name);
    if (channel.sessionCount === 0) channels.delete(name);
  });
  return channel;
}

const app = express();
app.get("/stream", async (req, res) => {
  const name = channelOf(req);
  await feed.join(name);
  const session = await createSession(req, res);
  (channels.get(name) ?? open(name)).register(session);
});
announce(createServer(app));
