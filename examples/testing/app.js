import express from "express";
import { sseStream, taskStream } from "redis-sse/express";

/** `sse` is the service: from `createRedisSse()` in production, and from `createTestSse()` in tests. */
export function createApp(sse) {
  const app = express();
  app.use(express.json());

  const userOf = (req) => req.get("x-user"); // use your session here
  app.get(
    "/events",
    sseStream((req) => userOf(req) && ["news", `notifications:${userOf(req)}`], { service: sse }),
  );

  app.post("/news", async (req, res) => {
    await sse.publish("news", { event: "article", data: req.body });
    res.sendStatus(204);
  });

  app.post("/friends/:user", async (req, res) => {
    await sse.notifications.create({ userId: req.params.user, title: `${userOf(req)} is your friend now` });
    res.sendStatus(204);
  });

  const reports = sse.queue("reports");
  let attempts = 0;
  reports.worker(
    async ({ progress }) => {
      if (++attempts === 1) throw new Error("the first attempt of this example always fails");
      await progress(50, "half-way");
      return { pages: 12 };
    },
    { onError: () => {} },
  );
  app.post("/reports", async (req, res) => {
    const { id } = await reports.enqueue("report", { owner: userOf(req) }, { attempts: 3, backoff: 60_000 });
    res.status(202).json({ id });
  });
  app.get(
    "/reports/:id/events",
    taskStream((req) => req.params.id, { service: sse }),
  );

  app.use((error, _req, res, _next) => res.status(error.retryable ? 503 : 500).json({ code: error.code }));
  return app;
}
