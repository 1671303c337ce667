/**
 * A server that makes errors on request, to check that the load client detects them. It accepts PUBLISH on the same port. It
 * always splits its output at random places, into chunks and into packets.
 */
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";

import { acceptPublish } from "../publishers/resp-server.js";
import { announcePort } from "./support/announce.js";

export type Fault = "none" | "loss" | "repeat" | "disorder";

/** The error affects only this event. Later events are correct. */
const AFFLICTED = 5;
const HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

const { fault } = JSON.parse(process.env["BENCH_OPTIONS"]!) as { fault: Fault };
const streams: { readonly socket: Socket; sent: Promise<void> }[] = [];
let published = 0;
let seed = 1;

const server = createServer((socket) => {
  socket.setNoDelay(true);
  socket.on("error", () => socket.destroy());
  socket.once("data", (first) => {
    if (first.toString().startsWith("GET ")) {
      openStream(socket);
      return;
    }
    socket.pause();
    socket.unshift(first);
    acceptPublish(socket, publish);
    socket.resume();
  });
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
announcePort((server.address() as { port: number }).port);

function openStream(socket: Socket): void {
  streams.push({ socket, sent: write(socket, HEAD + chunksOf(": ~ open ~# ~\n\n")) });
}

let held = "";

async function publish(_channel: string, data: string): Promise<void> {
  const frame = `id: ${published}\nevent: message\ndata: ${JSON.stringify({ data })}\n\n`;
  const afflicted = published++ === AFFLICTED;
  if (afflicted && fault === "disorder") held = frame;
  else if (!afflicted || fault !== "loss")
    send(frame + held + (afflicted && fault === "repeat" ? frame : ""));
  if (!afflicted) held = "";
}

function send(text: string): void {
  for (const stream of streams) {
    const chunks = chunksOf(text);
    stream.sent = stream.sent.then(() => write(stream.socket, chunks));
  }
}

/** Splits the data into chunks of random sizes. */
function chunksOf(text: string): string {
  return pieces(text)
    .map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`)
    .join("");
}

/** Splits the data into packets of random sizes. */
async function write(socket: Socket, text: string): Promise<void> {
  for (const piece of pieces(text)) {
    socket.write(piece);
    await turn();
  }
}

function pieces(text: string): string[] {
  const found: string[] = [];
  for (let at = 0; at < text.length; at += found.at(-1)!.length)
    found.push(text.slice(at, at + 1 + random(40)));
  return found;
}

/** Pseudo-random numbers, the same in every run. */
function random(below: number): number {
  seed = (seed * 48_271) % 2_147_483_647;
  return seed % below;
}
