/** Uses Transmit's own Redis transport. Broadcasts of other processes arrive over its bus. */
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";

import { Transmit } from "@boringnode/transmit";
import { redis } from "@boringnode/transmit/transports";
import express from "express";
import { Redis } from "ioredis";

import { announce, redisUrl } from "./support/announce.js";
import { channelOf } from "./support/channel-of.js";

const { hostname, port } = new URL(redisUrl);
const transmit = new Transmit(
  { pingInterval: false, transport: null },
  redis({ host: hostname, port: Number(port) })(),
);
const app = express();
app.get("/stream", async (req, res) => {
  const uid = randomUUID();
  transmit.createStream({ uid, context: { req, res }, request: req, response: res });
  await transmit.subscribe({ uid, channel: channelOf(req), context: { req, res } });
});
await subscribed("transmit::broadcast");
announce(createServer(app));

/** The bus does not report when it has subscribed. */
async function subscribed(channel: string): Promise<void> {
  const admin = new Redis(redisUrl);
  for (;;) {
    const [, count] = (await admin.pubsub("NUMSUB", channel)) as [string, number];
    if (count > 0) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await admin.quit();
}
