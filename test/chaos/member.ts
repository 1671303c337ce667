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
 * A process of the cluster: publishers, and in an app also streams, over one service. Its argument is its plan. Told
 * SIGTERM it does as an operator's guide says, and has to end by itself. It ends with its parent.
 */

export interface MemberPlan {
  readonly service: ServiceOptions;
  /** Whether it serves streams, or publishes only. */
  readonly serves: boolean;
  readonly publishers: readonly PublisherPlan[];
  readonly channels: ChannelSet;
  readonly seed: number;
}

/** What a process is asked over IPC, and what it answers. */
export interface Answers {
  /** Publishes nothing any more, and the fate of all that it has published is known. */
  quiet: null;
  /** Publishes so much at once that a small output limit does not admit it. */
  burst: null;
  status: StatusReport;
  /** What it holds, without a question to Redis. */
  look: MemberLook;
  /** Bytes in use after garbage was collected. */
  heap: number;
  /** Does nothing else for so many milliseconds. */
  block: null;
}

interface MemberLook {
  /** The most sockets to Redis that there ever were at once. */
  readonly mostRedisSockets: number;
  readonly resources: Readonly<Record<string, number>>;
}

export type Question = keyof Answers;

/** Parent to child; `argument` is for `block`. */
export interface MemberRequest {
  readonly id: number;
  readonly question: Question;
  readonly argument: number;
}

/** Child to parent. */
export type MemberMessage =
  | { readonly port: number }
  | { readonly settled: Settled }
  /** What must never happen in a process: a warning, or an error that nobody caught. */
  | { readonly trouble: string }
  | { readonly id: number; readonly answer: Answers[Question] };

const tell = (message: MemberMessage): void => void process.send?.(message);

for (const event of ["unhandledRejection", "uncaughtException"] as const) {
  process.on(event, (reason: unknown) => tell({ trouble: `${event}: ${inspect(reason)}` }));
}
process.on("warning", ({ name, message }) => tell({ trouble: `${name}: ${message}` }));
const endWithParent = (): never => process.exit(1);
process.once("disconnect", endWithParent);

// Every socket that an app opens is one to Redis.
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
      await pause(20); // finalizers run between
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
  // A kernel whose queue is full answers some connections with a reset, which is no fault of the library.
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
