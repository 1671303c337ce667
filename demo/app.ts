import { fileURLToPath } from "node:url";

import express, { type Express, type Request, type RequestHandler } from "express";
import {
  isFinished,
  progressChannel,
  progressOf,
  type QueueService,
  type RedisSse,
  type Task,
} from "redis-sse";
import { bearerAuth, redisPoolStatus, sseStream } from "redis-sse/express";

import { answerErrors, BadRequest, BODY_LIMIT, newNotification, newTask, parse, userId } from "./input.js";
import { LiveStreams } from "./live-streams.js";

export interface DemoServices {
  readonly sse: RedisSse;
  readonly queue: QueueService;
  /** Which Redis is used, in words. */
  readonly redis: string;
  /** For the debug endpoint. */
  readonly token: string;
}

/** The page as it was written, and its scripts as they were compiled. */
const STATIC_FOLDERS = ["../../demo/public", "./public"].map((path) =>
  fileURLToPath(new URL(path, import.meta.url)),
);

export function createApp({ sse, queue, redis, token }: DemoServices): Express {
  const app = express();
  const streams = new LiveStreams();
  app.disable("x-powered-by");
  app.use(setSecurityHeaders);
  for (const folder of STATIC_FOLDERS) app.use(express.static(folder, { index: "index.html" }));
  app.use(express.json({ limit: BODY_LIMIT }));

  app.get("/healthz", (_req, res) => void res.json({ status: "ok", redis }));

  app.get(
    "/api/notifications/stream",
    checkUser,
    sseStream((req) => `notifications:${userOf(req)}`, {
      service: sse,
      key: userOf,
      onOpen: (session) => streams.add(session),
    }),
  );
  app.get("/api/notifications", checkUser, async (req, res) => {
    res.json({ notifications: await sse.notifications.list(userOf(req)) });
  });
  app.post("/api/notifications", async (req, res) => {
    const id = await sse.notifications.create(parse(newNotification, req.body));
    res.status(201).json({ id });
  });
  app.get(
    "/api/notifications/debug/redis_pool",
    redisPoolStatus({ service: sse, authorize: bearerAuth(token) }),
  );

  app.post("/api/tasks", async (req, res) => {
    const { kind, ...payload } = parse(newTask, req.body);
    const { id } = await queue.enqueue(kind, payload);
    res.status(202).json({ id });
  });
  app.get("/api/tasks/:id", async (req, res) => void res.json(await findTask(queue, req.params.id)));
  app.get(
    "/api/tasks/:id/stream",
    async (req, _res, next) => {
      await findTask(queue, idOf(req));
      next();
    },
    sseStream((req) => progressChannel(idOf(req)), {
      service: sse,
      until: ({ data }) => isFinished((JSON.parse(data) as Task).status),
      // Subscribed first, read second: an end that came before is in the task, one that comes after is an event.
      onOpen: async (session, req) => {
        const task = await findTask(queue, idOf(req));
        session.send({ data: progressOf(task) });
      },
    }),
  );

  // A page has one stream for everything, since a browser opens no more than six connections to a host over
  // HTTP/1.1: the progress of a task is added to it and taken away again.
  app
    .route("/api/streams/:sessionId/tasks/:id")
    .put(async (req, res) => {
      const session = streams.get(req.params.sessionId);
      const task = await findTask(queue, req.params.id);
      await session.addChannel(progressChannel(task.id));
      session.send({ data: progressOf(await findTask(queue, task.id)) });
      res.status(204).end();
    })
    .delete(async (req, res) => {
      await streams.get(req.params.sessionId).removeChannel(progressChannel(req.params.id));
      res.status(204).end();
    });

  app.use(() => {
    throw new BadRequest(404, "NOT_FOUND", "expected a path of this demo");
  });
  app.use(answerErrors);
  return app;
}

const checkUser: RequestHandler = (req, _res, next) => {
  parse(userId, req.query["user"]);
  next();
};

/** The user of a request that `checkUser` has let pass. A real application asks its own session. */
function userOf(req: Request): string {
  return req.query["user"] as string;
}

function idOf(req: Request): string {
  return String(req.params["id"]);
}

async function findTask(queue: QueueService, id: string): Promise<Task> {
  const task = /^[\w-]{1,128}$/.test(id) ? await queue.get(id) : null;
  if (task === null) throw new BadRequest(404, "UNKNOWN_TASK", "expected the id of a task");
  return task;
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
