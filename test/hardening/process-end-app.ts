import { once } from "node:events";
import type { AddressInfo } from "node:net";

import express, { type NextFunction, type Request, type RequestHandler, type Response } from "express";

import { createRedisSse, type RedisSseOptions } from "../../lib/index.js";
import { sseStream } from "../../middleware/express.js";
import { deferred, eventually, settle } from "../support/eventually.js";
import { countResources } from "../support/resources.js";

/**
 * An app in a separate process that the test ends. It takes orders over IPC, reports, and must then exit by itself:
 * nothing here calls `process.exit()`. Argument: the options of its service, as JSON.
 */

/** The orders of the test. */
export type Order =
  | { readonly order: "count" }
  | { readonly order: "work"; readonly task: boolean }
  | { readonly order: "use" }
  | { readonly order: "publish"; readonly channel: string; readonly bytes: number }
  | { readonly order: "end"; readonly how: Ending }
  | { readonly order: "leave" };

export type Message =
  | { readonly type: "listening"; readonly port: number }
  | { readonly type: "count"; readonly requests: number; readonly waiting: number }
  | { readonly type: "working" }
  | { readonly type: "used" }
  | { readonly type: "published" }
  | Report;

/** The state of the app after its service and its server have closed. */
export interface Report {
  readonly type: "ended";
  /** Promises of the service and request handlers that have not settled. */
  readonly unsettled: readonly string[];
  /** Open sockets and timers. */
  readonly resources: Readonly<Record<string, number>>;
  readonly closed: Readonly<Record<string, number>>;
  readonly refused: Readonly<Record<string, number>>;
  readonly held: Readonly<Record<string, number>>;
}

export type Ending =
  | "close()"
  | "close() twice at once, and again"
  | "drain() twice at once, then close()"
  | "close() while drain() has a minute"
  | "drain() during close(), and after it";

const DRAIN_MS = 1_000;

const drain = (timeoutMs = DRAIN_MS): Promise<void> => sse.drain({ timeoutMs });

const ENDINGS: Readonly<Record<Ending, () => Promise<unknown>>> = {
  "close()": () => sse.close(),
  "close() twice at once, and again": () => Promise.all([sse.close(), sse.close()]).then(() => sse.close()),
  "drain() twice at once, then close()": () => Promise.all([drain(), drain()]).then(() => sse.close()),
  "close() while drain() has a minute": () => Promise.all([drain(60_000), sse.close()]),
  "drain() during close(), and after it": () =>
    Promise.all([sse.close(), drain(60_000)]).then(() => drain(60_000)),
};

const options = JSON.parse(process.argv[2]!) as RedisSseOptions;
const sse = createRedisSse(options);
const unsettled = new Map<Promise<unknown>, string>();
/** Keeps a resolver pending until the app starts to end. */
const resolving = deferred();

const app = express();
app.get("/stream", tracked(sseStream((req) => req.query["channel"] as string, { service: sse })));
app.get("/resolving", tracked(sseStream(() => resolving.promise.then(() => "a"), { service: sse })));
app.get(
  "/close-in-onOpen",
  tracked(
    sseStream(() => "a", {
      service: sse,
      async onOpen() {
        begin();
        await sse.close();
        void report();
      },
    }),
  ),
);
app.get(
  "/close-in-until",
  tracked(
    sseStream(() => "a", {
      service: sse,
      onOpen: (session) => session.send({ data: "the last" }),
      until() {
        begin();
        void sse.close().then(report);
        return true;
      },
    }),
  ),
);
const server = app.listen(0, "127.0.0.1");
await once(server, "listening");
const closed = once(server, "close");

// The recommended shutdown, plus a report for the test.
process.on("SIGTERM", () => {
  void (async () => {
    begin();
    await drain();
    await sse.close();
    await report();
  })();
});

process.on("message", (order: Order) => void obey(order));
send({ type: "listening", port: (server.address() as AddressInfo).port });

async function obey(order: Order): Promise<void> {
  switch (order.order) {
    case "count":
      return send({ type: "count", requests: unsettled.size, waiting: sse.pool.statistics.waiting });
    case "work":
      await work(order.task);
      return send({ type: "working" });
    case "use":
      await use();
      return send({ type: "used" });
    case "publish":
      await sse.publish(order.channel, { data: "x".repeat(order.bytes) });
      return send({ type: "published" });
    case "end":
      begin();
      await ENDINGS[order.how]();
      return report();
    case "leave":
      return process.disconnect();
  }
}

function begin(): void {
  server.close();
  // Resolves after the call that ends the service.
  setImmediate(resolving.resolve);
}

async function report(): Promise<void> {
  await closed;
  await settle();
  // ioredis keeps a timer of half a second for each dropped connection. Only resources that stay longer are reported.
  await eventually(() => {
    if (Object.keys(countResources()).length > 0) throw new Error("something is held");
  }, 1_500).catch(() => {});
  const { sessions, pool, hub } = await sse.status();
  send({
    type: "ended",
    unsettled: [...unsettled.values()],
    resources: countResources(),
    closed: sessions.closed,
    refused: sessions.refused,
    held: {
      sessions: sessions.open,
      leases: pool.inUse,
      waiting: pool.waiting,
      channels: hub.channels,
      ...pool.connections,
    },
  });
}

/** Starts an idle worker and, if `task` is set, one whose task runs until it is aborted. */
async function work(task: boolean): Promise<void> {
  sse.queue("idle").worker(() => null);
  if (!task) return;
  const busy = sse.queue("busy");
  const begun = deferred();
  busy.worker(async ({ signal, progress }) => {
    await progress(50);
    begun.resolve();
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  });
  await busy.enqueue("endless", null);
  await begun.promise;
}

/** Starts every call that an app can await. Each must settle, with any outcome. */
async function use(): Promise<void> {
  track("publish", sse.publish("a", { data: 1 }));
  track("enqueue", sse.queue("busy").enqueue("a", null));
  track("create", sse.notifications.create({ userId: "ann", title: "a" }));
  track("incrementWithTtl", sse.pool.incrementWithTtl("a"));
  track("status", sse.status());
  track("lease", sse.pool.lease({ holder: "the app" }));
  const commands = sse.pool.commands;
  // Waiting calls are most easily forgotten between two connection attempts.
  if (commands.status !== "ready") await new Promise((resolve) => commands.once("reconnecting", resolve));
}

function track(name: string, promise: Promise<unknown>): void {
  unsettled.set(promise, name);
  const settled = (): void => void unsettled.delete(promise);
  promise.then(settled, settled);
}

function tracked(handler: RequestHandler) {
  return (req: Request, res: Response, next: NextFunction): void =>
    track(req.url, Promise.resolve(handler(req, res, next)));
}

function send(message: Message): void {
  process.send!(message);
}
