import { connect } from "node:net";
import { dirname } from "node:path";

import { expect } from "chai";

import { startDemo, startDemoWith, type DemoProcess } from "../support/demo-process.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { openStream, type SseClient } from "../support/sse-client.js";

/** The demo's HTTP contract, with one Redis behind it. */
function describeDemo(
  name: string,
  start: (context: Mocha.Context) => Promise<DemoProcess>,
  label: RegExp,
): void {
  describe(`the demo on ${name}`, () => {
    let demo: DemoProcess;
    const clients: SseClient[] = [];

    before(async function () {
      this.timeout(300_000);
      demo = await start(this);
    });

    afterEach(() => {
      for (const client of clients.splice(0)) client.destroy();
    });

    after(() => demo?.stop());

    async function open(path: string): Promise<SseClient> {
      const client = await openStream(`${demo.url}${path}`);
      clients.push(client);
      return client;
    }

    async function post(
      path: string,
      body: unknown,
    ): Promise<{ status: number; json: Record<string, unknown> }> {
      const response = await fetch(`${demo.url}${path}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: typeof body === "string" ? body : JSON.stringify(body),
      });
      return { status: response.status, json: (await response.json()) as Record<string, unknown> };
    }

    it("says which Redis it uses", async () => {
      expect(demo.redis).to.match(label);
      const health = await fetch(`${demo.url}/healthz`);
      expect(health.status).to.equal(200);
      expect(await health.json()).to.deep.equal({ status: "ok", redis: demo.redis });
    });

    it("serves its page under a policy that admits nothing from elsewhere", async () => {
      const page = await fetch(`${demo.url}/?user=alice`);
      expect(page.status).to.equal(200);
      expect(page.headers.get("content-security-policy")).to.match(/^default-src 'self'/);
      expect(await page.text()).to.include("redis-sse");
      for (const path of ["/app.js", "/style.css"]) {
        const file = await fetch(demo.url + path);
        expect(file.status).to.equal(200);
        await file.arrayBuffer(); // one that is not read holds its socket
      }
    });

    it("sends a notification to its user's streams, and to no other's", async () => {
      const [alice, bob] = await Promise.all([
        open("/api/notifications/stream?user=alice"),
        open("/api/notifications/stream?user=bob"),
      ]);
      await Promise.all([alice, bob].map((stream) => stream.next(({ event }) => event === "connected")));
      const { status, json } = await post("/api/notifications", {
        userId: "alice",
        title: "Hi",
        body: "<b>there</b>",
      });
      expect(status).to.equal(201);
      const event = await alice.next(({ event: type }) => type === "message");
      expect(JSON.parse(event.data)).to.deep.include({
        id: json["id"],
        userId: "alice",
        title: "Hi",
        body: "<b>there</b>",
      });
      await post("/api/notifications", { userId: "bob", title: "For Bob", body: "" });
      const first = await bob.next(({ event: type }) => type === "message");
      expect(JSON.parse(first.data)).to.have.property("title", "For Bob");
      const list = await (await fetch(`${demo.url}/api/notifications?user=alice`)).json();
      expect(list).to.have.nested.property("notifications[0].title", "Hi");
    });

    it("shows the pool to who has the token", async () => {
      await (await open("/api/notifications/stream?user=dora")).next(({ event }) => event === "connected");
      const url = `${demo.url}/api/notifications/debug/redis_pool`;
      const ask = (authorization?: string): Promise<Response> =>
        fetch(url, { headers: authorization === undefined ? {} : { authorization } });
      for (const wrong of [
        undefined,
        "Bearer",
        "Bearer x",
        "Bearer dem",
        "Bearer demoo",
        "Basic demo",
        "demo",
      ]) {
        const denied = await ask(wrong);
        expect(denied.status, wrong).to.equal(401);
        expect(await denied.text()).to.not.include("dora");
      }
      const report = (await (await ask("Bearer demo")).json()) as {
        data: { pubsub: { channels: string[] } };
      };
      expect(report).to.deep.include({ success: true });
      expect(report).to.have.nested.property("data.pool.max_connections", 200);
      expect(report.data.pubsub.channels).to.include("notifications:dora");
    });

    const BAD: readonly (readonly [string, string, unknown, number])[] = [
      ["a notification without a user", "/api/notifications", { title: "a", body: "b" }, 400],
      ["a user of the wrong type", "/api/notifications", { userId: 7, title: "a", body: "b" }, 400],
      ["a user name with a line end", "/api/notifications", { userId: "a\nb", title: "a", body: "b" }, 400],
      ["an empty title", "/api/notifications", { userId: "a", title: "", body: "b" }, 400],
      [
        "a title over its length",
        "/api/notifications",
        { userId: "a", title: "x".repeat(201), body: "" },
        400,
      ],
      ["a list", "/api/notifications", [], 400],
      ["text", "/api/notifications", '"x"', 400],
      ["half of a JSON object", "/api/notifications", '{"a":', 400],
      [
        "a body over its size",
        "/api/notifications",
        { userId: "a", title: "a", body: "x".repeat(20_000) },
        413,
      ],
      ["a task without a kind", "/api/tasks", {}, 400],
      ["a kind of the wrong type", "/api/tasks", { kind: {} }, 400],
      ["steps of the wrong type", "/api/tasks", { kind: "a", steps: "3" }, 400],
      ["no steps", "/api/tasks", { kind: "a", steps: 0 }, 400],
      ["half a step", "/api/tasks", { kind: "a", steps: 1.5 }, 400],
      ["too long a step", "/api/tasks", { kind: "a", stepMs: 10_001 }, 400],
      ["a delay into the past", "/api/tasks", { kind: "a", delayMs: -1 }, 400],
      ["too long a delay", "/api/tasks", { kind: "a", delayMs: 3_600_001 }, 400],
      ["no attempt", "/api/tasks", { kind: "a", attempts: 0 }, 400],
      ["too many attempts", "/api/tasks", { kind: "a", attempts: 11 }, 400],
      ["a task over its size", "/api/tasks", { kind: "a", more: "x".repeat(20_000) }, 413],
      ["to requeue nothing", "/api/dead-letters/requeue", {}, 400],
      ["to requeue an empty list", "/api/dead-letters/requeue", { ids: [] }, 400],
      ["to requeue what can be no task", "/api/dead-letters/requeue", { ids: ["a b"] }, 400],
      ["to purge some word", "/api/dead-letters/purge", { ids: "some" }, 400],
      ["to purge too many at once", "/api/dead-letters/purge", { ids: Array(101).fill("a") }, 400],
      ["to cancel an unknown task", "/api/tasks/unknown/cancel", {}, 404],
    ];
    for (const [what, path, body, status] of BAD) {
      it(`refuses ${what}, and says what it expected`, async () => {
        const answer = await post(path, body);
        expect(answer.status).to.equal(status);
        const { code, message } = answer.json["error"] as { code: string; message: string };
        expect(code).to.match(/^[A-Z_]+$/);
        expect(message).to.match(/expected/);
      });
    }

    it("refuses what it does not know", async () => {
      const paths: readonly (readonly [string, number])[] = [
        ["/api/tasks/unknown", 404],
        ["/api/tasks/unknown/stream", 404],
        ["/api/tasks/..%2F..%2Fx/stream", 400],
        ["/api/notifications/stream", 400],
        ["/api/notifications/stream?user=", 400],
        ["/api/notifications/stream?user=a&user=b", 400],
        ["/api/notifications/stream?user=a%0Ab", 400],
        ["/nothing", 404],
      ];
      for (const [path, status] of paths) {
        const answer = await fetch(demo.url + path);
        expect(answer.status, path).to.equal(status);
        expect(await answer.json(), path).to.have.nested.property("error.message");
      }
    });

    it("ends cleanly within five seconds, and tells its streams", async () => {
      const streams = await Promise.all(
        Array.from({ length: 20 }, (_, index) => open(`/api/notifications/stream?user=u${index}`)),
      );
      await Promise.all(streams.map((stream) => stream.next(({ event }) => event === "connected")));
      await post("/api/tasks", { kind: "long", steps: 1_000, stepMs: 100 });
      const { exitCode, tookMs, stderr } = await demo.stop();
      expect(exitCode, stderr).to.equal(0);
      expect(stderr).to.equal("");
      expect(tookMs).to.be.lessThan(5_000);
      await Promise.all(streams.map((stream) => stream.ended));
      for (const stream of streams) expect(stream.events.at(-1)).to.have.property("event", "closing");
    }).timeout(15_000);

    it("leaves no server of its own behind", async () => {
      const port = /on port (\d+)/.exec(demo.redis)?.[1];
      if (port === undefined) return;
      const refused = await new Promise<boolean>((resolve) => {
        const socket = connect(Number(port), "127.0.0.1", () => resolve(false));
        socket.on("error", () => resolve(true));
      });
      expect(refused).to.equal(true);
    });
  });
}

/** Where nothing but Node is found. */
const PATH_WITHOUT_REDIS = dirname(process.execPath);

describeDemo(
  "ioredis-mock",
  async function () {
    return startDemo({ PATH: `${PATH_WITHOUT_REDIS}/nowhere` });
  },
  /^ioredis-mock, in this process/,
);

describeDemo(
  "a private server",
  async (context) => startDemoWith(await need("redis", context)),
  /^a private redis-server on port \d+$/,
);

let server: RedisServer | null = null;

describeDemo(
  "the server of REDIS_URL",
  async (context) => {
    server = await RedisServer.start(await need("redis", context));
    return startDemo({ REDIS_URL: server.url.replace("redis://", "redis://default:unneeded@") });
  },
  /^redis:\/\/127\.0\.0\.1:\d+ \(from REDIS_URL\)$/,
);

after(() => server?.stop());
