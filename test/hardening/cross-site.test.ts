import { expect } from "chai";
import type { Express, RequestHandler } from "express";
import RedisMock from "ioredis-mock";

import { createRedisSse, type RedisSse } from "../../lib/index.js";
import { sseStream, taskStream, type RouteParams, type SseStreamOptions } from "../../middleware/express.js";
import { recordingLogger } from "../support/recording-logger.js";
import { openStream, type SseClient } from "../support/sse-client.js";
import { startApp, type TestApp } from "../support/test-app.js";

const LISTED = "https://app.example.com";
const EVIL = "https://app.example.com.evil.example";

/** The headers of an EventSource with cookies, in a page of another site. */
const AS_USER = { "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", Cookie: "sid=1" };

const PREFLIGHT = {
  "Sec-Fetch-Site": "cross-site",
  "Access-Control-Request-Method": "GET",
  "Access-Control-Request-Headers": "last-event-id, x-other",
};

type Stream = RequestHandler<RouteParams>;
type Options = Pick<SseStreamOptions, "allowOrigins" | "methods">;

describe("requests of other sites", () => {
  let service: RedisSse;
  let redis: InstanceType<typeof RedisMock>;
  let lines: readonly string[];
  let app: TestApp;
  let taskId: string;
  /** The number of calls of a resolver. */
  let resolved: number;
  const clients: SseClient[] = [];

  beforeEach(async () => {
    const recording = recordingLogger();
    lines = recording.lines;
    redis = new RedisMock({ host: "cross-site" });
    service = createRedisSse({ redis, logger: recording.logger });
    taskId = (await service.queue("media").enqueue("resize", null)).id;
    resolved = 0;
  });

  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy();
    await service.close();
    await app.close();
    await redis.quit();
  });

  async function ask(path: string, headers: Record<string, string>, method = "GET"): Promise<SseClient> {
    const client = await openStream(app.url + path, { headers, method });
    clients.push(client);
    return client;
  }

  async function expectCode(client: SseClient, status: number, code: string): Promise<void> {
    await client.ended;
    expect(client.status, client.text).to.equal(status);
    expect(JSON.parse(client.text)).to.have.nested.property("error.code", code);
  }

  async function expectOpen(client: SseClient): Promise<void> {
    expect(client.status, client.text).to.equal(200);
    await client.next(({ event }) => event === "connected");
  }

  const expectNothingOpened = async (): Promise<void> => {
    expect(resolved).to.equal(0);
    expect((await service.status()).sessions.opened).to.equal(0);
  };

  const expectReadable = ({ headers }: SseClient, origin = LISTED): void => {
    expect(headers["access-control-allow-origin"]).to.equal(origin);
    expect(headers["access-control-allow-credentials"]).to.equal(origin === "*" ? undefined : "true");
    expect(headers["access-control-expose-headers"]).to.equal("Retry-After");
  };

  for (const [name, make] of [
    ["sseStream()", (options: Options = {}) => sseStream(() => (resolved++, "a"), { service, ...options })],
    [
      "taskStream()",
      (options: Options = {}) => taskStream(() => (resolved++, taskId), { service, ...options }),
    ],
  ] as const) {
    describe(name, () => {
      it("refuses a request with cookies before the resolver runs, and logs it once", async () => {
        app = await startApp((router) => router.get("/events", make()));
        for (const origin of [EVIL, LISTED, "null"]) {
          const client = await ask("/events", { ...AS_USER, Origin: origin });
          await expectCode(client, 403, "CROSS_SITE");
          expect(client.headers).to.include({ vary: "Origin", "cache-control": "no-store" });
          expect(client.headers).to.not.have.property("access-control-allow-origin");
        }
        await expectNothingOpened();
        const warnings = lines.filter((line) => line.startsWith("warn") && line.includes("allowOrigins"));
        expect(warnings).to.have.length(1);
      });

      it("opens a stream for an allowed origin only, compared exactly", async () => {
        app = await startApp((router) => router.get("/events", make({ allowOrigins: [LISTED] })));
        const client = await ask("/events", { ...AS_USER, Origin: LISTED });
        await expectOpen(client);
        expectReadable(client);
        resolved = 0;
        for (const origin of [
          EVIL,
          "null",
          LISTED.toUpperCase(),
          `${LISTED}:443`,
          `${LISTED}/`,
          `x, ${LISTED}`,
        ]) {
          const refused = await ask("/events", { ...AS_USER, Origin: origin });
          await expectCode(refused, 403, "CROSS_SITE");
          expect(refused.headers.vary, origin).to.equal("Origin");
          expect(refused.headers, origin).to.not.have.property("access-control-allow-origin");
        }
        expect(resolved).to.equal(0);
      });

      for (const [how, mount] of [
        ["use()", (router: Express, stream: Stream) => router.use("/events", stream)],
        ["all()", (router: Express, stream: Stream) => router.all("/events", stream)],
        [
          "options()",
          (router: Express, stream: Stream) => router.get("/events", stream).options("/events", stream),
        ],
      ] as const) {
        it(`answers a preflight request without the resolver if mounted with ${how}`, async () => {
          app = await startApp((router) => mount(router, make({ allowOrigins: [LISTED], methods: ["PUT"] })));
          const answer = await ask("/events", { ...PREFLIGHT, Origin: LISTED }, "OPTIONS");
          await answer.ended;
          expect([answer.status, answer.text]).to.deep.equal([204, ""]);
          expectReadable(answer);
          expect(answer.headers).to.include({
            vary: "Origin",
            "access-control-allow-methods": "GET, HEAD, PUT",
            "access-control-allow-headers": "Last-Event-ID, Authorization, Content-Type, Cache-Control",
            "access-control-max-age": "600",
          });
          const other = await ask("/events", { ...PREFLIGHT, Origin: EVIL }, "OPTIONS");
          expect(other.status).to.equal(204);
          expect(
            Object.keys(other.headers).filter((name) => name.startsWith("access-control")),
          ).to.deep.equal([]);
          await expectNothingOpened();
        });
      }
    });
  }

  it("of an allowed origin can read every refusal and error", async () => {
    const closed = createRedisSse({ redis });
    await closed.close();
    const options = { service, allowOrigins: [LISTED] };
    const closing = { service: closed, allowOrigins: [LISTED] };
    const fail = (): never => {
      throw new Error("no such session");
    };
    app = await startApp((router) => {
      router.use(
        "/none",
        sseStream(() => null, options),
      );
      router.use(
        "/invalid",
        sseStream(() => "a\n", options),
      );
      router.use(
        "/task",
        taskStream(() => "unknown", options),
      );
      router.use("/fails", sseStream(fail, options));
      router.use(
        "/closed",
        sseStream(() => "a", closing),
      );
      router.use(
        "/status",
        sseStream(() => "a", { ...closing, onUnavailable: "status" }),
      );
    });
    for (const [status, path, method, headers] of [
      [403, "/none", "GET", {}],
      [400, "/invalid", "GET", {}],
      [404, "/task", "GET", {}],
      [405, "/none", "POST", {}],
      [405, "/none", "OPTIONS", {}],
      [406, "/none", "GET", { Accept: "text/html" }],
      [204, "/none", "GET", { "Last-Event-ID": "completed" }],
      [200, "/closed", "GET", {}],
      [503, "/status", "GET", {}],
      [500, "/fails", "GET", {}],
    ] as const) {
      const client = await ask(path, { ...AS_USER, Origin: LISTED, ...headers }, method);
      await client.ended;
      expect(client.status, path).to.equal(status);
      expectReadable(client);
    }
  });
});
