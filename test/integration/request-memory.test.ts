import { createRequire } from "node:module";

import { expect } from "chai";
import { Router, type Request, type RequestHandler, type Response } from "express";
import RedisMock from "ioredis-mock";

import { createRedisSse, type RedisSse } from "../../lib/index.js";
import { sseStream, type SseStreamOptions } from "../../middleware/express.js";
import { eventually } from "../support/eventually.js";
import { openStream, type SseClient } from "../support/sse-client.js";
import { startApp, type TestApp } from "../support/test-app.js";

const { resolve } = createRequire(import.meta.url);
/** Express and loggers such as morgan find the end of a response with it. */
const onFinished = createRequire(resolve("express"))("on-finished") as (
  res: Response,
  listener: () => void,
) => void;

describe("the request of an open stream", () => {
  let service: RedisSse;
  let app: TestApp;
  let client: SseClient;
  let request: Request;
  /** The request as the parts of the application see it. */
  let seen: Map<string, unknown>;

  beforeEach(() => {
    service = createRedisSse({ redis: new RedisMock({ host: "request-memory" }) });
    seen = new Map();
  });

  afterEach(async () => {
    client.destroy();
    await service.close();
    await app.close();
  });

  /** Reads the request in all ways in which common middleware reads it at the end of a response. */
  const middleware: RequestHandler = (req, res, next) => {
    request = req;
    onFinished(res, () => seen.set("logger", look(req)));
    const end = res.end.bind(res) as (...args: readonly unknown[]) => Response;
    res.end = (...args: readonly unknown[]) => {
      seen.set("session store", look(req));
      return end(...args);
    };
    req.on("close", () => seen.set("close of the request", look(req)));
    res.on("close", () => seen.set("close of the response", look(req)));
    next();
  };

  async function open(options: SseStreamOptions = {}): Promise<void> {
    const router = Router({ mergeParams: true }).get(
      "/events/:kind",
      sseStream(
        (req) => {
          seen.set("resolver", look(req as Request));
          return "room";
        },
        { service, ...options },
      ),
    );
    app = await startApp((express) => {
      express.use(middleware);
      express.use("/users/:id", router);
    });
    client = await openStream(`${app.url}/users/7/events/news?page=a&page=b`, {
      headers: { Referer: "http://a.example/" },
    });
    await client.next(({ event }) => event === "connected");
    await service.publish("room", { data: "1" });
    await client.next(({ data }) => data === "1");
  }

  for (const [says, end] of [
    ["the server closes the stream", () => service.drain({ spreadMs: 0 })],
    ["the client leaves", async () => client.destroy()],
  ] as const) {
    it(`has no functions of routers, and shows everything else unchanged after ${says}`, async () => {
      await open();
      expect(request.next).to.equal(undefined);
      await end();
      await eventually(() => expect(seen.has("close of the response")).to.equal(true));
      const before = seen.get("resolver");
      expect(before).to.deep.include({
        originalUrl: "/users/7/events/news?page=a&page=b",
        baseUrl: "/users/7",
        path: "/events/news",
        query: { page: ["a", "b"] },
        params: { id: "7", kind: "news" },
        referer: "http://a.example/",
      });
      expect(seen.has("logger")).to.equal(true);
      for (const [part, what] of seen) expect(what, part).to.deep.equal(before);
    });
  }

  for (const [option, options] of Object.entries({
    filter: { filter: () => true },
    transform: { transform: ({ data }) => ({ data }) },
    until: { until: () => false },
    onOpen: { onOpen: () => {} },
    onError: { onError: () => {} },
  } satisfies Record<string, SseStreamOptions>)) {
    it(`stays whole if the mount has ${option}`, async () => {
      await open(options);
      expect(request.next).to.be.a("function");
    });
  }
});

function look(req: Request): unknown {
  const { method, url, originalUrl, baseUrl, path, query, ip, protocol, hostname, httpVersion } = req;
  const { params, headers } = structuredClone({ params: { ...req.params }, headers: req.headers });
  const known = { method, url, originalUrl, baseUrl, path, query, ip, protocol, hostname, httpVersion };
  return {
    ...known,
    params,
    headers,
    referer: req.get("Referer"),
    accepts: req.accepts("text/event-stream"),
  };
}
