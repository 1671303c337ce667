import { Router, type Request } from "express";
import { progressChannel, type QueueService, type RedisSse } from "redis-sse";
import { taskCancel, taskStream } from "redis-sse/express";

import { newTask, parse } from "./input.js";
import type { LiveStreams } from "./live-streams.js";
import type { TaskNews } from "./task-news.js";
import { viewTask, viewTasks } from "./task-view.js";

export interface TaskServices {
  readonly sse: RedisSse;
  readonly queue: QueueService;
  readonly streams: LiveStreams;
  readonly news: TaskNews;
}

/** Routes that start, show, cancel and follow tasks. */
export function taskRoutes({ sse, queue, streams, news }: TaskServices): Router {
  const router = Router();

  router.get("/api/queue", async (_req, res) => void res.json(await queue.counts()));

  router
    .route("/api/tasks")
    .get(async (_req, res) => void res.json({ tasks: await viewTasks(sse, queue) }))
    .post(async (req, res) => {
      const { kind, steps, stepMs, delayMs, attempts } = parse(newTask, req.body);
      const task = await queue.enqueue(kind, { steps, stepMs, attempts }, { delayMs, attempts });
      news.started({ ...task, seq: 0, dueInMs: task.runAt === null ? null : delayMs });
      res.status(202).json({ id: task.id });
    });

  router.get("/api/tasks/:id", async (req, res) => void res.json(await viewTask(sse, queue, req.params.id)));

  router.get("/api/tasks/:id/stream", taskStream(idOf, { service: sse, queue: queue.name }));
  router.post("/api/tasks/:id/cancel", taskCancel(idOf, { service: sse, queue: queue.name }));

  // Each page has one stream, because browsers open at most six HTTP/1.1 connections to a host. These routes add a
  // task to the stream and remove it again. The stream replays the task's history.
  router
    .route("/api/streams/:sessionId/tasks/:id")
    .put(async (req, res) => {
      const session = streams.get(req.params.sessionId);
      const { id } = await viewTask(sse, queue, req.params.id);
      await session.addChannel(progressChannel(id));
      res.json(await viewTask(sse, queue, id));
    })
    .delete(async (req, res) => {
      await streams.get(req.params.sessionId).removeChannel(progressChannel(req.params.id));
      res.status(204).end();
    });

  return router;
}

function idOf(req: Request): string {
  return String(req.params["id"]);
}
