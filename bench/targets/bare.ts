/**
 * The minimum that a Node server can do: no library, no framework, no limits. All messages of one event-loop turn become one
 * string per channel and one write per socket. The writes bypass the response object.
 */
import { createServer } from "node:http";
import type { Socket } from "node:net";

import { announce } from "./support/announce.js";
import { SSE_HEADERS } from "./support/channel-of.js";
import { createFeed } from "./support/feed.js";

interface Channel {
  readonly sockets: Set<Socket>;
  gathered: string;
}

const channels = new Map<string, Channel>();
let gathering: Channel[] = [];

function flush(): void {
  const turn = gathering;
  gathering = [];
  for (const channel of turn) {
    const { gathered, sockets } = channel;
    channel.gathered = "";
    // Encode the text once if several sockets get it. For one socket, a string is enough.
    const bytes = sockets.size === 1 ? gathered : Buffer.from(gathered);
    for (const socket of sockets) socket.write(bytes);
  }
}

const feed = createFeed((name, data) => {
  const channel = channels.get(name);
  if (channel === undefined) return;
  if (channel.gathered === "" && gathering.push(channel) === 1) setImmediate(flush);
  channel.gathered += `data: ${data}\n\n`;
});

async function join(name: string, socket: Socket): Promise<void> {
  await feed.join(name);
  const channel = channels.get(name) ?? { sockets: new Set(), gathered: "" };
  channels.set(name, channel);
  channel.sockets.add(socket);
  socket.on("close", () => {
    channel.sockets.delete(socket);
    if (channel.sockets.size === 0) channels.delete(name);
    feed.leave(name);
  });
}

const server = createServer((req, res) => {
  const { socket } = req;
  const name = new URL(req.url ?? "/", "http://localhost").searchParams.get("channel") ?? "none";
  // Without a length and without chunked encoding, the response ends when the connection ends.
  res.shouldKeepAlive = false;
  res.useChunkedEncodingByDefault = false;
  res.writeHead(200, { ...SSE_HEADERS, Connection: "close" });
  res.flushHeaders();
  void join(name, socket).then(() => socket.write(": open\n\n"));
});
announce(server);
