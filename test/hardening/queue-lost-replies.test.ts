import { expect } from "chai";

import { createRedisSse, type QueueService, type RedisSse } from "../../lib/index.js";
import { deferred, eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { untilIdle } from "../support/service.js";
import { TcpProxy } from "../support/tcp-proxy.js";

/** Longer than any test: whatever waits for a lease fails. */
const LEASE_MS = 120_000;

describe("a call of the queue whose answer is lost", function () {
  this.timeout(30_000);

  let server: RedisServer;
  let proxy: TcpProxy;
  let services: RedisSse[];
  /** By a way of its own. */
  let direct: QueueService;
  /** Behind the proxy. */
  let behind: QueueService;

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
  });

  after(() => server?.stop());

  beforeEach(async () => {
    await server.admin.flushall();
    proxy = await TcpProxy.start(server.port);
    services = [createRedisSse({ redis: server.url }), createRedisSse({ redis: proxy.url })];
    [direct, behind] = services.map((sse) => sse.queue("lost")) as [QueueService, QueueService];
    await direct.counts();
    await behind.counts();
  });

  afterEach(async () => {
    await Promise.all(services.map((sse) => sse.close()));
    await proxy.close();
  });

  async function untilKept(text: string): Promise<void> {
    await eventually(() => expect(proxy.keptReplies).to.include(text));
  }

  async function untilDone(id: string): Promise<void> {
    await eventually(async () => expect((await direct.get(id))?.status).to.equal("succeeded"));
  }

  /** The call is executed and its answer on the way; then the connection is cut. */
  async function loseAnswer(call: () => unknown, answer: string): Promise<void> {
    proxy.keepRepliesAt("evalsha");
    call();
    await untilKept(answer);
    proxy.cut();
  }

  /** So that the server knows the scripts: the answer that is kept is to the first try. */
  async function warmUp(): Promise<void> {
    await direct.enqueue("warm", null, { id: "warm" });
    const worker = direct.worker(async ({ progress }) => progress(1));
    await untilDone("warm");
    await worker.stop();
  }

  /** The worker behind the proxy has begun a task, and waits for the next one. */
  async function untilClaiming(): Promise<void> {
    await behind.enqueue("kind", null, { id: "first" });
    await untilDone("first");
    await untilIdle(services[1]!);
  }

  it("enqueue: one task is in line, and its caller has it", async () => {
    await warmUp();
    await behind.enqueue("warm", null, { id: "known" });
    const before = (await direct.counts()).totals.enqueued;
    let task: Promise<unknown> = Promise.resolve();
    await loseAnswer(() => (task = behind.enqueue("kind", 1, { id: "a" })), "ok");
    expect(await task).to.include({ id: "a", status: "queued" });
    expect((await direct.counts()).totals.enqueued).to.equal(before + 1);
    expect((await direct.list("queued")).tasks.map(({ id }) => id)).to.deep.equal(["known", "a"]);
  });

  it("enqueueMany: all are in line once, and none is said to be taken", async () => {
    await warmUp();
    await behind.enqueue("warm", null, { id: "known" });
    const entries = ["a", "b", "c"].map((id) => ({ kind: "kind", payload: 1, options: { id } }));
    let tasks: Promise<readonly { id: string }[]> = Promise.resolve([]);
    await loseAnswer(() => (tasks = behind.enqueueMany(entries)), "ok");
    expect((await tasks).map(({ id }) => id)).to.deep.equal(["a", "b", "c"]);
    expect((await direct.list("queued")).tasks.map(({ id }) => id)).to.deep.equal(["known", "a", "b", "c"]);
  });

  it("claim: the tasks are begun at once, by the same call, and once", async () => {
    await warmUp();
    const ids = Array.from({ length: 8 }, (_, index) => `task-${index}`);
    const begun: string[] = [];
    behind.worker(({ task, attempt }) => void begun.push(`${task.id} ${attempt}`), {
      concurrency: 20,
      leaseMs: LEASE_MS,
    });
    await untilClaiming();
    await loseAnswer(() => {
      void direct.enqueueMany(ids.map((id) => ({ kind: "kind", payload: null, options: { id } })));
    }, "task-7");
    for (const id of ids) await untilDone(id);
    expect(begun.toSorted()).to.deep.equal(["first 1", ...ids.map((id) => `${id} 1`)]);
  });

  it("claim: what a call took that was given up is answered to the next one", async function () {
    this.timeout(40_000);
    await warmUp();
    const begun: number[] = [];
    const worker = behind.worker(({ attempt }) => void begun.push(attempt), { leaseMs: LEASE_MS });
    await untilClaiming();
    proxy.keepRepliesAt("evalsha");
    await direct.enqueue("kind", null, { id: "second" });
    await untilKept("second");
    // Nothing is cut: the worker waits for its answer until its own deadline, and tries again.
    await eventually(async () => expect((await direct.get("second"))?.status).to.equal("succeeded"), 20_000);
    expect(begun).to.deep.equal([1, 1]);
    await worker.stop();
  });

  it("settle: the outcome is stored once, and taken", async () => {
    await warmUp();
    const over = deferred();
    behind.worker(() => over.promise, { leaseMs: LEASE_MS, pollMs: 5_000 });
    await behind.enqueue("kind", null, { id: "a" });
    await eventually(async () => expect((await direct.get("a"))?.status).to.equal("running"));
    const before = (await direct.counts()).totals.succeeded;
    // The first, NOSCRIPT aside, that is sent from here on.
    await loseAnswer(() => over.resolve(), "1");
    await eventually(() => expect(behind.statistics).to.include({ succeeded: 1, refused: 0, running: 0 }));
    expect((await direct.counts()).totals).to.include({ succeeded: before + 1, refused: 0 });
    expect(await direct.get("a")).to.include({ status: "succeeded", attempt: 1 });
  });

  it("report: a piece is in the log once, and what follows comes behind it", async () => {
    await warmUp();
    const ready = deferred();
    const go = deferred();
    behind.worker(
      async ({ write }) => {
        await write("one ");
        ready.resolve();
        await go.promise;
        await write("two ");
        await write("three");
      },
      { leaseMs: LEASE_MS, pollMs: 5_000 },
    );
    await behind.enqueue("kind", null, { id: "a" });
    await ready.promise;
    await loseAnswer(() => go.resolve(), "1");
    await untilDone("a");
    const entries = await server.admin.xrange("sse:log:{tasks}:task_progress:a", "-", "+");
    const chunks = entries.map(([, fields]) => fields).filter((fields) => fields.includes("chunk"));
    expect(chunks.map((fields) => fields[fields.indexOf("d") + 1])).to.deep.equal(["one ", "two ", "three"]);
  });
});
