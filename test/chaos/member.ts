import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { inspect } from "node:util";

import express from "express";

import { sseStream } from "../../middleware/express.js";
import type { MemberMessage, MemberOrder, MemberPlan } from "./member-protocol.js";
import { Publishers } from "./publishers.js";
import { createService } from "./redis-address.js";

/**
 * A process of the cluster: publishers, and in an app also streams, over one service. Its argument is its plan. Told
 * SIGTERM it does as an operator's guide says, and has to end by itself. It ends with its parent.
 */

const tell = (message: MemberMessage): void => void process.send?.(message);

for (const event of ["unhandledRejection", "uncaughtException"] as const) {
  process.on(event, (reason: unknown) => tell({ type: "trouble", trouble: `${event}: ${inspect(reason)}` }));
}
process.on("warning", ({ name, message }) => tell({ type: "trouble", trouble: `${name}: ${message}` }));
const endWithParent = (): never => process.exit(1);
process.once("disconnect", endWithParent);

const plan = JSON.parse(process.argv[2]!) as MemberPlan;
const service = createService(plan.service);
const server = plan.serves ? await serve() : null;
const publishers = new Publishers(service, plan.publishers, plan.seed, (settled) =>
  tell({ type: "settled", settled }),
);

process.on("message", ({ order }: MemberOrder) => {
  if (order === "be-quiet") void publishers.stop().then(() => tell({ type: "quiet" }));
  else void service.status().then((status) => tell({ type: "status", status }));
});
process.once("SIGTERM", () => void end());
tell({ type: "ready", port: server === null ? 0 : (server.address() as AddressInfo).port });

async function serve(): Promise<Server> {
  const app = express();
  app.get(
    "/stream",
    sseStream((req) => (req.query["channels"] as string).split(","), { service }),
  );
  const server = createServer(app).listen({ port: 0, host: "127.0.0.1", backlog: 4_096 });
  await once(server, "listening");
  return server;
}

async function end(): Promise<void> {
  server?.close();
  const quiet = publishers.stop();
  await service.drain({ timeoutMs: 1_000, spreadMs: 500 });
  await service.close();
  // What was under way was rejected by that.
  await quiet;
  process.off("disconnect", endWithParent);
  process.disconnect();
}
