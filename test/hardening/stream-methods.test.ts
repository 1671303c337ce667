import { expect } from "chai";
import type { Express } from "express";
import RedisMock from "ioredis-mock";

import { createRedisSse, type RedisSse } from "../../lib/index.js";
import { sseStream, taskStream } from "../../middleware/express.js";
import { expectRefusal } from "../support/refusal.js";
import { openStream } from "../support/sse-client.js";
import { startApp, type TestApp } from "../support/test-app.js";

const METHODS = ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

/** A stale `req.route`: Express keeps the one of an earlier route that called `next()`. */
const staleRoute = (app: Express): void => {
  app.all("/{*any}", (_req, _res, next) => next());
  app.post("/{*any}", (_req, _res, next) => next());
};

describe("HTTP methods of a stream", () => {
  let service: RedisSse;
  let redis: InstanceType<typeof RedisMock>;
  let app: TestApp;
  let taskId: string;

  beforeEach(async () => {
    redis = new RedisMock({ host: "stream-methods" });
    service = createRedisSse({ redis });
    taskId = (await service.queue("media").enqueue("resize", null)).id;
  });

  afterEach(async () => {
    await service.close();
    await app.close();
    await redis.quit();
  });

  async function expectRefused(path: string, methods: readonly string[], allow: string): Promise<void> {
    for (const method of methods) {
      const response = await fetch(app.url + path, { method });
      expect(response.headers.get("allow"), method).to.equal(allow);
      expect(response.headers.get("access-control-allow-origin"), method).to.equal(null);
      await expectRefusal(response, 405, "METHOD_NOT_ALLOWED");
    }
    expect((await service.status()).sessions.opened).to.equal(0);
  }

  async function expectStream(path: string, method: string): Promise<void> {
    const client = await openStream(app.url + path, { method });
    expect(client.status, method).to.equal(200);
    await client.next(({ event }) => event === "connected");
    client.destroy();
  }

  for (const [name, make] of [
    ["sseStream()", (methods?: readonly string[]) => sseStream(() => "a", { service, methods })],
    ["taskStream()", (methods?: readonly string[]) => taskStream(() => taskId, { service, methods })],
  ] as const) {
    it(`${name} accepts only GET and HEAD if mounted with use(), also after other routes`, async () => {
      app = await startApp((router) => {
        staleRoute(router);
        router.use("/events", make());
      });
      await expectRefused("/events", METHODS, "GET, HEAD");
      expect((await fetch(`${app.url}/events`, { method: "HEAD" })).status).to.equal(200);
      await expectStream("/events", "GET");
    });

    it(`${name} accepts the method of its route, and all methods in a route of all()`, async () => {
      app = await startApp((router) => {
        staleRoute(router);
        router.post("/post", (_req, _res, next) => next(), make());
        router.all("/all", make());
        router.route("/both").get(make()).put(make());
      });
      await expectStream("/post", "POST");
      for (const method of METHODS) await expectStream("/all", method);
      await expectStream("/both", "PUT");
    });

    it(`${name} refuses the method of a route that calls it by hand, unless the option methods includes it`, async () => {
      app = await startApp((router) => {
        const plain = make();
        const named = make(["POST", "GET"]);
        router.post("/plain", (req, res, next) => void plain(req, res, next));
        router.all("/named", (req, res, next) => void named(req, res, next));
      });
      await expectRefused("/plain", ["POST"], "GET, HEAD");
      await expectRefused("/named", ["PUT"], "GET, HEAD, POST");
      for (const method of ["POST", "GET"]) await expectStream("/named", method);
    });
  }

  it("are not allowed because of a route for another method", async () => {
    app = await startApp((router) => {
      const handler = sseStream(() => "a", { service });
      // A PUT passes a route whose handler is for POST only. It then reaches the handler through use().
      router
        .route("/a")
        .post(handler)
        .put((_req, _res, next) => next());
      router.use("/a", handler);
    });
    expect((await fetch(`${app.url}/a`, { method: "PUT" })).status).to.equal(405);
    await expectStream("/a", "POST");
  });
});
