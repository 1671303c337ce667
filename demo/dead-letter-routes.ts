import { Router, type Request } from "express";
import type { QueueService } from "redis-sse";

import { SHOWN_TASKS } from "./demo-queue.js";
import { BadRequest, deadLetterIds, parse } from "./input.js";
import type { TaskNews } from "./task-news.js";

/** Routes for dead letters. A real application must restrict all of them to operators. */
export function deadLetterRoutes(
  queue: QueueService,
  news: TaskNews,
  isOperator: (req: Request) => boolean,
): Router {
  const router = Router();

  // Errors can contain host names and credentials, so only operators see them.
  router.get("/api/dead-letters", async (req, res) => {
    const operator = isOperator(req);
    if (!operator && req.headers.authorization !== undefined) {
      throw new BadRequest(
        401,
        "UNAUTHORIZED",
        "The operator token is wrong. Send the right token, or none.",
      );
    }
    const { tasks } = await queue.deadLetters.list({ limit: SHOWN_TASKS });
    // Newest first.
    const letters = tasks.toReversed().map(({ error, ...task }) => (operator ? { ...task, error } : task));
    res.json({ tasks: letters, operator });
  });

  router.post("/api/dead-letters/requeue", async (req, res) => {
    const { ids } = parse(deadLetterIds, req.body);
    const requeued = await (ids === "all" ? queue.deadLetters.requeueAll() : queue.deadLetters.requeue(ids));
    if (requeued > 0) news.requeued();
    res.json({ requeued });
  });

  router.post("/api/dead-letters/purge", async (req, res) => {
    const { ids } = parse(deadLetterIds, req.body);
    const purged = await (ids === "all" ? queue.deadLetters.purgeAll() : queue.deadLetters.purge(ids));
    if (purged > 0) news.purged();
    res.json({ purged });
  });

  return router;
}
