import { connect } from "node:net";
import { dirname } from "node:path";

import { expect } from "chai";
import type { QueueCounts, TaskProgress } from "redis-sse";

import type { TaskView } from "../../demo/task-view.js";
import { startDemo, startDemoWith, type DemoProcess } from "../support/demo-process.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { openStream, type SseClient } from "../support/sse-client.js";
import { isEvent } from "../support/stream-harness.js";

/** Long, because the machine may be busy. */
const PATIENCE_MS = 15_000;

/** The demo's HTTP contract, with one Redis behind it. */
function describeDemo(
  name: string,
  start: (context: Mocha.Context) => Promise<DemoProcess>,
  label: RegExp,
): void {
  describe(`the demo on ${name}`, function () {
    this.timeout(2 * PATIENCE_MS);
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

    /** The stream of a user's page after `connected`, and its session id. */
    async function openPage(user: string): Promise<{ page: SseClient; sessionId: string }> {
      const page = await open(`/api/notifications/stream?user=${user}`);
      const { data } = await page.next(isEvent("connected"));
      return { page, sessionId: (JSON.parse(data) as { sessionId: string }).sessionId };
    }

    async function send(method: string, path: string, body: unknown): Promise<Response> {
      return fetch(`${demo.url}${path}`, {
        method,
        headers: { "Content-Type": "application/json" },
        ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
      });
    }

    async function ask<Answer>(method: string, path: string, body?: object): Promise<Answer> {
      const response = await send(method, path, body);
      expect(response.ok, `${method} ${path}: ${response.status}`).to.equal(true);
      return (response.status === 204 ? {} : await response.json()) as Answer;
    }

    const enqueue = async (body: object): Promise<string> =>
      (await ask<{ id: string }>("POST", "/api/tasks", body)).id;

    function becomes(id: string, status: string): Promise<TaskView> {
      return eventually(async () => {
        const task = await ask<TaskView>("GET", `/api/tasks/${id}`);
        expect(task.status).to.equal(status);
        return task;
      }, PATIENCE_MS);
    }

    const refusedPort = (port: number): Promise<boolean> =>
      new Promise((resolve) => {
        const socket = connect(port, "127.0.0.1", () => resolve(false));
        socket.on("error", () => resolve(true));
      });

    it("reports which Redis it uses", async () => {
      expect(demo.redis).to.match(label);
      expect(await ask("GET", "/healthz")).to.deep.equal({ status: "ok", redis: demo.redis });
    });

    it("serves its page with a policy that allows only its own origin", async () => {
      const page = await fetch(`${demo.url}/?user=alice`);
      expect(page.status).to.equal(200);
      expect(page.headers.get("content-security-policy")).to.equal(
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
      );
      const html = await page.text();
      expect(html).to.include("redis-sse");
      expect(html).to.not.match(/<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|javascript:/i);
      for (const path of ["/app.js", "/style.css"]) {
        const file = await fetch(demo.url + path);
        expect(file.status).to.equal(200);
        await file.arrayBuffer(); // an unread body keeps its socket open
      }
    });

    it("sends a notification only to the streams of its user", async () => {
      const [{ page: alice }, { page: bob }] = [await openPage("alice"), await openPage("bob")];
      const given = { userId: "alice", title: "Hi", body: "<b>there</b>" };
      const { id } = await ask<{ id: string }>("POST", "/api/notifications", given);
      const event = await alice.next(isEvent("message"));
      expect(JSON.parse(event.data)).to.deep.include({ id, ...given });
      await ask("POST", "/api/notifications", { userId: "bob", title: "For Bob", body: "" });
      const first = await bob.next(isEvent("message"));
      expect(JSON.parse(first.data)).to.have.property("title", "For Bob");
      const list = await ask("GET", "/api/notifications?user=alice");
      expect(list).to.have.nested.property("notifications[0].title", "Hi");
    });

    it("shows the pool status only with the token", async () => {
      await openPage("dora");
      const see = (authorization?: string): Promise<Response> =>
        fetch(`${demo.url}/api/notifications/debug/redis_pool`, {
          headers: authorization === undefined ? {} : { authorization },
        });
      for (const wrong of [undefined, "Bearer", "Bearer demoo", "Basic demo"]) {
        const denied = await see(wrong);
        expect(denied.status, wrong).to.equal(401);
        expect(await denied.text()).to.not.include("dora");
      }
      const report = (await (await see("Bearer demo")).json()) as {
        data: { pubsub: { channels: string[] } };
      };
      expect(report).to.deep.include({ success: true });
      expect(report).to.have.nested.property("data.pool.max_connections", 200);
      expect(report.data.pubsub.channels).to.include("notifications:dora");
    });

    it("runs a task, streams its progress and output, and then answers 204", async () => {
      const id = await enqueue({ kind: "report", steps: 4, stepMs: 60 });
      const stream = await open(`/api/tasks/${id}/stream`);
      await stream.ended;
      const progress = progressIn(stream);
      expect(progress.every(({ taskId }) => taskId === id)).to.equal(true);
      expect(progress.at(-1)).to.deep.include({ progress: 100, status: "succeeded", attempt: 1 });
      expect(progress.some((event) => event.status === "running" && event.progress > 0)).to.equal(true);
      expect(textIn(stream, "chunk")).to.equal("Orders are up by ");
      expect(textIn(stream, "log")).to.equal("attempt 1: 4 steps of 60 ms4 steps done");
      expect(await becomes(id, "succeeded")).to.deep.include({ id, kind: "report", progress: 100 });
      const again = await fetch(`${demo.url}/api/tasks/${id}/stream`, {
        headers: { "Last-Event-ID": stream.events.at(-1)!.id! },
      });
      expect(again.status).to.equal(204);
    });

    it("shows operators why a task has failed, and requeues and purges the dead letter", async () => {
      const { page } = await openPage("grave");
      const id = await enqueue({ kind: "fail", steps: 2, stepMs: 1, attempts: 1 });
      await becomes(id, "failed");
      const stream = await open(`/api/tasks/${id}/stream`);
      await stream.ended;
      expect(progressIn(stream).at(-1)).to.deep.include({ status: "failed", message: "failed" });
      expect(stream.text).to.not.include("ECONNREFUSED");

      const letters = async (authorization?: string): Promise<{ status: number; text: string }> => {
        const headers = authorization === undefined ? {} : { authorization };
        const response = await fetch(`${demo.url}/api/dead-letters`, { headers });
        return { status: response.status, text: await response.text() };
      };
      expect((await letters()).text)
        .to.include(id)
        .and.not.include("ECONNREFUSED");
      expect((await letters("Bearer demo")).text).to.include("Error: connect ECONNREFUSED");
      expect(await letters("Bearer demoo")).to.have.property("status", 401);

      expect(await ask("POST", "/api/dead-letters/requeue", { ids: [id] })).to.deep.equal({ requeued: 1 });
      await page.next(({ event, data }) => event === "tasks-changed" && data.includes("requeued"));
      await eventually(async () => {
        expect((await ask<QueueCounts>("GET", "/api/queue")).totals.failed).to.be.at.least(2);
      }, PATIENCE_MS);
      await becomes(id, "failed");
      expect(await ask("POST", "/api/dead-letters/purge", { ids: "all" })).to.deep.equal({ purged: 1 });
      await page.next(({ event, data }) => event === "tasks-changed" && data.includes("purged"));
      expect((await fetch(`${demo.url}/api/tasks/${id}`)).status).to.equal(404);
      expect((await letters()).text).to.not.include(id);
    });

    it("sends new tasks and changed queue counts to every page", async () => {
      const { page } = await openPage("counter");
      const first = await page.next(isEvent("queue"), PATIENCE_MS);
      const { totals } = JSON.parse(first.data) as QueueCounts;
      const options = { steps: 1, stepMs: 1, attempts: 5 };
      const id = await enqueue({ kind: "resize", ...options });
      const { data } = await page.next(isEvent("task"));
      expect(JSON.parse(data)).to.deep.include({ id, kind: "resize", status: "queued" });
      await page.next(({ event, data }) => {
        if (event !== "queue") return false;
        const now = JSON.parse(data) as QueueCounts;
        return now.totals.succeeded === totals.succeeded + 1 && now.running === 0;
      }, PATIENCE_MS);
      const { tasks } = await ask<{ tasks: TaskView[] }>("GET", "/api/tasks");
      expect(tasks[0]).to.deep.include({ id, status: "succeeded", payload: options });
    });
    it("closes its streams and its private server, and exits within five seconds", async () => {
      const pages = await Promise.all(Array.from({ length: 20 }, (_, index) => openPage(`u${index}`)));
      await enqueue({ kind: "long", steps: 1_000, stepMs: 100 });
      const { exitCode, tookMs, stderr } = await demo.stop();
      expect(exitCode, stderr).to.equal(0);
      expect(stderr).to.equal("");
      expect(tookMs).to.be.lessThan(5_000);
      for (const { page } of pages) {
        await page.ended;
        expect(page.events.at(-1)).to.have.property("event", "closing");
      }
      const port = /on port (\d+)/.exec(demo.redis)?.[1];
      if (port !== undefined) expect(await refusedPort(Number(port))).to.equal(true);
    });
  });
}

function progressIn(stream: SseClient): readonly TaskProgress[] {
  return stream.events.filter(isEvent("message")).map(({ data }) => JSON.parse(data) as TaskProgress);
}

function textIn(stream: SseClient, type: string): string {
  return stream.events
    .filter(isEvent(type))
    .map(({ data }) => data)
    .join("");
}

describeDemo(
  "ioredis-mock",
  // A PATH without a redis-server.
  () => startDemo({ PATH: `${dirname(process.execPath)}/nowhere` }),
  /^ioredis-mock, in this process/,
);

describeDemo(
  "a private server",
  async (context) => startDemoWith(await need("redis", context)),
  /^a private redis-server on port \d+$/,
);

describe("the demo's address", () => {
  // Linux accepts connections on every 127.x.x.x address.
  const OTHER_ADDRESS = "127.0.0.2";

  async function isReachable(env: Record<string, string>): Promise<boolean> {
    const demo = await startDemo({ PATH: `${dirname(process.execPath)}/nowhere`, ...env });
    try {
      return await fetch(`http://${OTHER_ADDRESS}:${new URL(demo.url).port}/healthz`).then(
        ({ ok }) => ok,
        () => false,
      );
    } finally {
      await demo.stop();
    }
  }

  it("is the loopback address, unless HOST sets another one", async function () {
    if (process.platform !== "linux") this.skip();
    expect(await isReachable({})).to.equal(false);
    expect(await isReachable({ HOST: "0.0.0.0" })).to.equal(true);
  });
});

describe("the demo with an invalid setting", () => {
  for (const [env, message] of [
    [{ PORT: "abc" }, 'Invalid PORT "abc": use a whole number from 0 to 65535.'],
    [
      { REDIS_URL: "reddis://u:secret@x" },
      "Invalid REDIS_URL: use redis://[user:password@]host[:port][/db], or rediss:// for TLS.",
    ],
  ] as const) {
    it(`names ${Object.keys(env)[0]} in one line, and exits`, async () => {
      const error = await startDemo(env).catch((error: unknown) => error);
      expect(error).to.have.property("message", `the demo exited with code 1: ${message}\n`);
    });
  }
});

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
