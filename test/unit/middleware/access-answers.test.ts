import express, { type Request } from "express";
import { expect } from "chai";
import RedisMock from "ioredis-mock";

import { createRedisSse, type RedisSse } from "../../../lib/index.js";
import { sseStream, taskStream } from "../../../middleware/express.js";
import { eventually } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import { expectRefusal } from "../../support/refusal.js";
import { recordingLogger } from "../../support/recording-logger.js";
import { openStream, type SseClient } from "../../support/sse-client.js";
import { startApp, type TestApp } from "../../support/test-app.js";

const source = new RedisMock({ host: "access-answers" });

describe("A resolver that answers with rights", () => {
  let clock: FakeClock;
  let service: RedisSse;
  let app: TestApp;
  /** What the resolver of `/any` and `/task` returns. */
  let answer: unknown;
  /** What the resolver of `/echo` returns. */
  let echo: (req: Request) => unknown;
  let checked: Request[];
  let check: () => boolean;
  let lines: readonly string[];
  const clients: SseClient[] = [];

  beforeEach(async () => {
    clock = new FakeClock();
    checked = [];
    check = () => true;
    const recording = recordingLogger();
    ({ lines } = recording);
    const { logger } = recording;
    service = createRedisSse({ redis: source, clock, logger, limits: { maxSessionsPerKey: 1 } });
    app = await startApp((router) => {
      router.set("query parser", "extended");
      router.use(express.json());
      const key = (): string => "mount";
      router.get(
        "/any",
        sseStream(() => answer as string, { service, key }),
      );
      router.get(
        "/task",
        taskStream(() => answer as string, { service, key }),
      );
      router.all(
        "/echo",
        sseStream((req) => echo(req) as string, { service, methods: ["POST"] }),
      );
      router.all(
        "/echo-task",
        taskStream((req) => echo(req) as string, { service, methods: ["POST"] }),
      );
      router.get(
        "/checked",
        sseStream(() => "a", {
          service,
          revalidate: {
            everyMs: 1_000,
            check: (req) => {
              checked.push(req);
              return check();
            },
          },
        }),
      );
    });
  });

  afterEach(async () => {
    for (const client of clients.splice(0)) client.destroy();
    await service.close();
    await app.close();
    expect(app.errors).to.deep.equal([]);
  });

  after(() => source.quit());

  async function openLive(path: string): Promise<SseClient> {
    const client = await openStream(app.url + path);
    clients.push(client);
    await client.next(({ event }) => event === "connected");
    return client;
  }

  const untilChecked = (times: number): Promise<void> =>
    eventually(() => {
      clock.advance(1_000);
      expect(checked.length).to.be.at.least(times);
    });

  const ask = (path: string, body?: unknown): Promise<Response> =>
    fetch(
      app.url + path,
      body === undefined
        ? {}
        : { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } },
    );

  it("opens a stream with the key of the answer", async () => {
    answer = { channels: ["a", "b"], key: "ann" };
    const client = await openLive("/any");
    expect(JSON.parse(client.events[0]!.data)).to.have.deep.property("channels", ["a", "b"]);
    expect(await (await ask("/any")).text()).to.include("LIMIT_SESSIONS_PER_KEY");
    answer = "a";
    await openLive("/any");
  });

  it("answers 401 to GET and HEAD if the right has ended", async () => {
    answer = { channels: "secret", expiresAt: clock.now() };
    await expectRefusal(await ask("/any"), 401, "UNAUTHORIZED", "secret");
    expect((await fetch(`${app.url}/any`, { method: "HEAD" })).status).to.equal(401);
    await service.queue().enqueue("kind", null, { id: "t1" });
    answer = { id: "t1", expiresAt: clock.now() };
    await expectRefusal(await ask("/task"), 401, "UNAUTHORIZED");
  });

  it("streams a task until the right to it ends", async () => {
    await service.queue().enqueue("kind", null, { id: "t2" });
    answer = { id: "t2", key: "ann", expiresAt: clock.now() + 1_000 };
    const client = await openLive("/task");
    expect(await (await ask("/task")).text()).to.include("LIMIT_SESSIONS_PER_KEY");
    await eventually(() => {
      clock.advance(1_000);
      expect(client.events.at(-1)).to.include({
        event: "closing",
        data: '{"reason":"authorization-expired"}',
      });
    });
  });

  it("refuses a task answer of another form", async () => {
    for (const [value, status, code] of [
      [{ id: null }, 403, "FORBIDDEN"],
      [{ id: "secret\n" }, 400, "INVALID_TASK"],
      [{ expiresAt: 1 }, 400, "INVALID_TASK"],
      [{ id: "t", channels: "secret" }, 400, "INVALID_TASK"],
      [{ id: "t", resume: "all" }, 400, "INVALID_TASK"],
      [["t"], 400, "INVALID_TASK"],
      [{ id: ["t"] }, 400, "INVALID_TASK"],
      [{ id: "t" }, 404, "UNKNOWN_TASK"],
    ] as const) {
      answer = value;
      await expectRefusal(await ask("/task"), status, code, "secret");
    }
  });

  for (const parser of ["extended", "with plain objects"] as const) {
    it(`refuses an object that the query parser made (${parser})`, async () => {
      if (parser === "with plain objects") {
        app.app.set("query parser", (text: string) => {
          const room = Object.create(null) as Record<string, string>;
          for (const [name, value] of new URLSearchParams(text)) room[name.slice(5, -1)] = value;
          return { room };
        });
      }
      for (const query of ["room[channels]=secret", "room[channels]=secret&room[key]=ann"]) {
        for (const path of ["/echo", "/echo-task"]) {
          echo = (req) => req.query["room"];
          await expectRefusal(await ask(`${path}?${query}`), 400, "INVALID_CHANNEL", "secret");
        }
      }
      // The application decides here, and only takes a name from the client.
      echo = (req) => ({ channels: (req.query["room"] as { channels: string }).channels, key: "app" });
      await openLive("/echo?room[channels]=a");
    });
  }

  it("refuses an object that the body parser made, and accepts a copy of it", async () => {
    const room = { channels: "secret", key: "ann" };
    for (const [body, read] of [
      [room, (req: Request) => req.body as unknown],
      [{ rooms: [{ room }] }, (req: Request) => (req.body as { rooms: [{ room: unknown }] }).rooms[0].room],
    ] as const) {
      echo = read;
      await expectRefusal(await ask("/echo", body), 400, "INVALID_CHANNEL", "secret");
    }
    echo = (req) => ({ ...(req.body as object) });
    const { body, headers } = await ask("/echo", { channels: "a" });
    expect(headers.get("content-type")).to.match(/^text\/event-stream/);
    await body!.cancel();
    // The parser of the application accepts deep objects. The search in them ends.
    const deep = JSON.parse(`${'{"channels":'.repeat(3_000)}1${"}".repeat(3_000)}`) as object;
    await expectRefusal(await ask("/echo", deep), 400, "INVALID_CHANNEL");
  });

  it("checks the right again with the request of the stream", async () => {
    const client = await openLive("/checked?token=t");
    await untilChecked(2);
    const [req] = checked;
    expect(req).to.include({ path: "/checked", method: "GET" });
    expect(req!.query).to.deep.equal({ token: "t" });
    expect(req!.next, "the routing of the request").to.be.a("function");
    check = () => false;
    await untilChecked(checked.length + 1);
    await client.ended;
    expect(client.events.at(-1)).to.include({ event: "closing", data: '{"reason":"revoked"}' });
  });

  it("writes a warning if checks fail, at most once a minute", async () => {
    await openLive("/checked?token=secret");
    check = () => {
      throw new TypeError("no database");
    };
    await untilChecked(10);
    expect(lines.filter((line) => !line.startsWith("debug"))).to.deep.equal([
      "warn redis-sse: revalidate.check() of a mount failed: TypeError: no database",
    ]);
  });
});
