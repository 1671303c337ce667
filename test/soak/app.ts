import { channel } from "node:diagnostics_channel";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { inspect } from "node:util";

import express from "express";

import { createRedisSse } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";
import { countResources } from "../support/resources.js";
import type { AppAnswers, AppMessage, AppOptions, AppRequest, Question } from "./app-protocol.js";

/**
 * The app under test, in a process of its own, so that its sockets, timers and memory are those of the library.
 * Its argument are the options of its service. It ends with its parent.
 */

const tell = (message: AppMessage): void => void process.send!(message);

for (const event of ["unhandledRejection", "uncaughtException"] as const) {
  process.on(event, (reason: unknown) => tell({ trouble: `${event}: ${inspect(reason)}` }));
}
process.on("warning", (warning) => tell({ trouble: `${warning.name}: ${warning.message}` }));
const endWithParent = (): never => process.exit(1);
process.once("disconnect", endWithParent);

// Every socket that this process opens is one to Redis.
const redisSockets = new Set<Socket>();
let mostRedisSockets = 0;
channel("net.client.socket").subscribe((message) => {
  const { socket } = message as { socket: Socket };
  redisSockets.add(socket);
  socket.once("close", () => redisSockets.delete(socket));
  mostRedisSockets = Math.max(mostRedisSockets, countRedisSockets());
});

const service = createRedisSse(JSON.parse(process.argv[2]!) as AppOptions);
const app = express();
app.get(
  "/stream",
  sseStream((req) => (req.query["channels"] as string).split(","), { service }),
);
// A kernel whose queue is full answers some connections with a reset, which is no fault of the library.
const server = createServer(app).listen({ port: 0, host: "127.0.0.1", backlog: 4_096 });
await once(server, "listening");
tell({ listening: (server.address() as AddressInfo).port });

const answers: { [Name in Question]: (request: AppRequest) => Promise<AppAnswers[Name]> } = {
  look: async () => ({
    redisSockets: countRedisSockets(),
    mostRedisSockets,
    inUse: service.pool.statistics.inUse,
    resources: countResources(),
  }),
  status: () => service.status(),
  heap: async () => {
    for (let round = 0; round < 3; round++) {
      globalThis.gc!();
      await pause(20); // finalizers run between
    }
    return process.memoryUsage().heapUsed;
  },
  block: async ({ milliseconds = 0 }) => {
    const until = Date.now() + milliseconds;
    while (Date.now() < until);
    return null;
  },
  close: async () => {
    await service.close();
    server.close();
    return null;
  },
};

process.on("message", (request: AppRequest) => void answer(request));

async function answer(request: AppRequest): Promise<void> {
  tell({ id: request.id, answer: await answers[request.question](request) });
  if (request.question !== "close") return;
  process.off("disconnect", endWithParent);
  process.disconnect();
}

function countRedisSockets(): number {
  return [...redisSockets].filter((socket) => !socket.destroyed).length;
}
