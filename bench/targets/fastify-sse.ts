import type { AddressInfo } from "node:net";

import { fastifySSE } from "@fastify/sse";
import { fastify, type FastifyReply } from "fastify";

import { announcePort, BACKLOG } from "./support/announce.js";
import { createFeed } from "./support/feed.js";

const listeners = new Map<string, Set<FastifyReply>>();
const feed = createFeed((channel, data) => {
  for (const reply of listeners.get(channel) ?? []) void reply.sse.send({ data });
});
const app = fastify();
await app.register(fastifySSE);
app.get<{ Querystring: { channel: string } }>("/stream", { sse: "only" }, async (request, reply) => {
  const { channel } = request.query;
  await feed.join(channel);
  reply.sse.keepAlive();
  await reply.sse.send({ data: "connected" });
  const set = listeners.get(channel) ?? new Set();
  listeners.set(channel, set.add(reply));
  reply.sse.onClose(() => {
    set.delete(reply);
    if (set.size === 0) listeners.delete(channel);
    feed.leave(channel);
  });
});
await app.listen({ port: 0, host: "127.0.0.1", backlog: BACKLOG });
announcePort((app.server.address() as AddressInfo).port);
