import { fileURLToPath } from "node:url";

import express, { type Express, type Request, type RequestHandler } from "express";
import type { QueueService, RedisSse } from "redis-sse";
import { bearerAuth, redisPoolStatus, sseStream } from "redis-sse/express";

import { deadLetterRoutes } from "./dead-letter-routes.js";
import { answerErrors, BadRequest, BODY_LIMIT, newNotification, parse, userQuery } from "./input.js";
import { LiveStatus } from "./live-status.js";
import { LiveStreams } from "./live-streams.js";
import { pageChannels, withTaskId } from "./page-stream.js";
import { refuseOtherSites } from "./same-origin.js";
import { createTaskNews } from "./task-news.js";
import { taskRoutes } from "./task-routes.js";

export interface DemoServices {
  readonly sse: RedisSse;
  readonly queue: QueueService;
  /** Describes the Redis server, without credentials. */
  readonly redis: string;
  /** Operator token. It gives access to the state of Redis and to the errors of failed tasks. */
  readonly token: string;
}

/** Static files from the source folder, and compiled scripts from `dist`. */
const STATIC_FOLDERS = ["../../demo/public", "./public"].map((path) =>
  fileURLToPath(new URL(path, import.meta.url)),
);

/** The page imports the client without a bundler. */
const CLIENT = fileURLToPath(new URL(".", import.meta.resolve("redis-sse/client")));

export function createApp({ sse, queue, redis, token }: DemoServices): Express {
  const app = express();
  const streams = new LiveStreams();
  const status = new LiveStatus(queue, streams);
  const news = createTaskNews(sse);
  const isOperator = bearerAuth(token);
  app.disable("x-powered-by");
  app.use(setSecurityHeaders);
  for (const folder of STATIC_FOLDERS) app.use(express.static(folder, { index: "index.html" }));
  app.use("/redis-sse/client", express.static(CLIENT));
  app.use(refuseOtherSites);
  app.use(express.json({ limit: BODY_LIMIT }));

  app.get("/healthz", (_req, res) => void res.json({ status: "ok", redis }));

  app.get(
    "/api/notifications/stream",
    checkUser,
    sseStream((req) => pageChannels(userOf(req)), {
      service: sse,
      key: userOf,
      transform: withTaskId,
      onOpen: (session) => {
        streams.add(session);
        status.opened(session);
      },
    }),
  );
  app.get("/api/notifications", checkUser, async (req, res) => {
    res.json({ notifications: await sse.notifications.list(userOf(req)) });
  });
  app.post("/api/notifications", async (req, res) => {
    const id = await sse.notifications.create(parse(newNotification, req.body));
    res.status(201).json({ id });
  });
  app.get("/api/notifications/debug/redis_pool", redisPoolStatus({ service: sse, authorize: isOperator }));

  // Answers 200 even if Redis is unavailable, because browsers log error statuses to the console.
  app.get("/api/status", async (req, res) => {
    if (!isOperator(req))
      throw new BadRequest(401, "UNAUTHORIZED", "Send the operator token in the Authorization header.");
    res.set("Cache-Control", "no-store").json(await sse.status({ drift: false }));
  });

  app.use(taskRoutes({ sse, queue, streams, news }));
  app.use(deadLetterRoutes(queue, news, isOperator));

  app.use(() => {
    throw new BadRequest(404, "NOT_FOUND", "This path does not exist.");
  });
  app.use(answerErrors);
  return app;
}

const checkUser: RequestHandler = (req, _res, next) => {
  parse(userQuery, req.query);
  next();
};

/** Use only after `checkUser`. A real application reads the user from its own login session. */
function userOf(req: Request): string {
  return req.query["user"] as string;
}

const setSecurityHeaders: RequestHandler = (_req, res, next) => {
  res.set({
    "Content-Security-Policy":
      "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
  });
  next();
};
