import { Router, type Request } from "express";
import type { QueueService } from "redis-sse";

import { SHOWN_TASKS } from "./demo-queue.js";
import { BadRequest, deadLetterIds, parse } from "./input.js";
import type { TaskNews } from "./task-news.js";

/** The tasks that have failed for good. A real application lets only its operators at them. */
export function deadLetterRoutes(
  queue: QueueService,
  news: TaskNews,
  isOperator: (req: Request) => boolean,
): Router {
  const router = Router();

  // What was thrown may name hosts and credentials: it is for who has the token.
  router.get("/api/dead-letters", async (req, res) => {
    const operator = isOperator(req);
    if (!operator && req.headers.authorization !== undefined) {
      throw new BadRequest(401, "UNAUTHORIZED", "expected the operator's token, or none");
    }
    const { tasks } = await queue.deadLetters.list({ limit: SHOWN_TASKS });
    // The latest first.
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
