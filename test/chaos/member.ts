import { channel } from "node:diagnostics_channel";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { inspect } from "node:util";

import express from "express";

import type { StatusReport } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";
import { countResources } from "../support/resources.js";
import { createService, type ChannelSet, type ServiceOptions } from "./channels.js";
import type { Settled } from "./ledger.js";
import { Publishers, type PublisherPlan } from "./publishers.js";

/**
 * A process of the cluster with publishers over one service. An app also serves streams. Its argument is its plan. On
 * SIGTERM it follows the operations guide and must exit by itself. It exits with its parent.
 */

export interface MemberPlan {
  readonly service: ServiceOptions;
  /** Whether the process serves streams. Otherwise it only publishes. */
  readonly serves: boolean;
  readonly publishers: readonly PublisherPlan[];
  readonly channels: ChannelSet;
  readonly seed: number;
}

/** Requests and answers over IPC. */
export interface Answers {
  /** Stops publishing. Resolves when all publications are settled. */
  quiet: null;
  /** Publishes enough at once to exceed a small output buffer limit. */
  burst: null;
  status: StatusReport;
  /** The resources of the service, without a request to Redis. */
  look: MemberLook;
  /** Heap in use after garbage collection, in bytes. */
  heap: number;
  /** Blocks the event loop for this many milliseconds. */
  block: null;
}

interface MemberLook {
  /** Maximum number of simultaneous sockets to Redis. */
  readonly mostRedisSockets: number;
  readonly resources: Readonly<Record<string, number>>;
}

export type Question = keyof Answers;

/** Message from parent to child. `argument` is for `block`. */
export interface MemberRequest {
  readonly id: number;
  readonly question: Question;
  readonly argument: number;
}

/** Message from child to parent. */
export type MemberMessage =
  | { readonly port: number }
  | { readonly settled: Settled }
  /** Events that must never happen in a process: a warning or an uncaught error. */
  | { readonly trouble: string }
  | { readonly id: number; readonly answer: Answers[Question] };

const tell = (message: MemberMessage): void => void process.send?.(message);

for (const event of ["unhandledRejection", "uncaughtException"] as const) {
  process.on(event, (reason: unknown) => tell({ trouble: `${event}: ${inspect(reason)}` }));
}
process.on("warning", ({ name, message }) => tell({ trouble: `${name}: ${message}` }));
const endWithParent = (): never => process.exit(1);
process.once("disconnect", endWithParent);

// All outgoing sockets of an app go to Redis.
const redisSockets = new Set<Socket>();
let mostRedisSockets = 0;
channel("net.client.socket").subscribe((message) => {
  const { socket } = message as { socket: Socket };
  redisSockets.add(socket);
  socket.once("close", () => redisSockets.delete(socket));
  const open = [...redisSockets].filter(({ destroyed }) => !destroyed);
  mostRedisSockets = Math.max(mostRedisSockets, open.length);
});

const plan = JSON.parse(process.argv[2]!) as MemberPlan;
const service = createService(plan.service);
const server = plan.serves ? await serve() : null;
const publishers = new Publishers(service, plan, (settled) => tell({ settled }));

const answers: { [Name in Question]: (argument: number) => Promise<Answers[Name]> } = {
  quiet: () => publishers.stop(),
  burst: () => publishers.burst(),
  status: () => service.status(),
  look: async () => ({ mostRedisSockets, resources: countResources() }),
  heap: async () => {
    for (let round = 0; round < 3; round++) {
      globalThis.gc!();
      await pause(20); // lets finalizers run
    }
    return process.memoryUsage().heapUsed;
  },
  block: async (milliseconds) => {
    const until = Date.now() + milliseconds;
    while (Date.now() < until);
    return null;
  },
};
process.on("message", ({ id, question, argument }: MemberRequest) => {
  void answers[question](argument).then((answer) => tell({ id, answer }));
});
process.once("SIGTERM", () => void end());
tell({ port: server === null ? 0 : (server.address() as AddressInfo).port });

async function serve(): Promise<Server> {
  const app = express();
  app.get(
    "/stream",
    sseStream((req) => (req.query["channels"] as string).split(","), { service }),
  );
  // A kernel with a full queue resets some connections. This is not an error of the library.
  const server = createServer(app).listen({ port: 0, host: "127.0.0.1", backlog: 4_096 });
  await once(server, "listening");
  return server;
}

async function end(): Promise<void> {
  server?.close();
  const quiet = publishers.stop();
  await service.drain({ timeoutMs: 1_000, spreadMs: 500 });
  await service.close();
  // This rejected the pending publications.
  await quiet;
  process.off("disconnect", endWithParent);
  process.disconnect();
}
