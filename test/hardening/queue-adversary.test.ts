import { expect } from "chai";
import { stub } from "sinon";

import { createRedisSse, type QueueOptions, type QueueService, type RedisSse } from "../../lib/index.js";
import { EnqueueBatcher } from "../../lib/queue/enqueue-batcher.js";
import { QueueStore } from "../../lib/queue/queue-store.js";
import { deferred, eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";
import { listen } from "../support/service.js";

const KEYS = "sse:queue:{tasks}:";
const BROKEN = "what is stored of this task cannot be read";
const HOUR_MS = 3_600_000;

describe("a queue whose moves come at the worst of times", function () {
  this.timeout(30_000);

  let server: RedisServer;
  let sse: RedisSse;
  let ends: (() => unknown)[];

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
  });

  after(() => server?.stop());

  beforeEach(async () => {
    await server.admin.flushall();
    ends = [];
    sse = createRedisSse({ redis: server.url });
  });

  afterEach(async () => {
    for (const end of ends.toReversed()) await end();
    await sse.close();
  });

  const statusOf = async (queue: QueueService, id: string): Promise<string | undefined> =>
    (await queue.get(id))?.status;

  async function untilDone(queue: QueueService, id: string, timeoutMs?: number): Promise<void> {
    await eventually(async () => expect(await statusOf(queue, id)).to.equal("succeeded"), timeoutMs);
  }

  it("a stale dead letter is purged and requeued without touching the task that has its id now", async () => {
    const queue = sse.queue("stale", { attempts: 1, deadLetterTtlMs: 20 });
    const worker = queue.worker(
      () => {
        throw new Error("no");
      },
      { onError: () => {} },
    );
    await queue.enqueue("kind", 1, { id: "again" });
    await eventually(async () => expect(await queue.get("again")).to.equal(null));
    await worker.stop();
    // Its id is still among the failed, until the next task ends.
    expect(await server.admin.zcard(`${KEYS}stale:failed`)).to.equal(1);
    await queue.enqueue("kind", 2, { id: "again" });
    await queue.deadLetters.requeue("again");
    expect(await queue.deadLetters.purgeAll()).to.equal(0);
    expect(await queue.get("again")).to.include({ payload: 2, status: "queued" });
  });

  it("a queue that is paused with a schedule due asks Redis no more often than it polls", async () => {
    const queue = sse.queue("paused");
    await queue.schedule("tick", { everyMs: HOUR_MS }, "kind", null);
    await server.admin.zadd(`${KEYS}paused:due`, 1, "tick");
    await queue.pause();
    queue.worker(() => {}, { pollMs: 1_000 });
    await eventually(async () => expect(await server.callsOf("evalsha")).to.be.greaterThan(0));
    const before = await server.callsOf("evalsha");
    // Other traffic, as long as it takes: none of it is a script.
    for (let ping = 0; ping < 2_000; ping++) await server.admin.ping();
    expect((await server.callsOf("evalsha")) - before).to.be.at.most(10);
  });

  it("a schedule fires once for each time, though its task is forgotten by then, and only as it stands", async () => {
    const queue = sse.queue("times");
    await queue.schedule("tick", { everyMs: HOUR_MS }, "kind", null);
    const due = Date.parse((await queue.schedules())[0]!.nextAt);
    const next = due + HOUR_MS;
    const content = (await server.admin.hget(`${KEYS}times:schedules`, "tick"))!;
    // What a worker does that has stood still since it was told.
    const enqueuer = new EnqueueBatcher(
      new QueueStore({
        name: "times",
        keyPrefix: "sse:",
        commands: () => server.admin,
        newEpoch: () => "epoch",
        keepEvents: 100,
        results: { maxCount: 100, maxBytes: 1e9, maxPayloadBytes: 1e6 },
      }),
    );
    const fire = (at: number, as = content): ReturnType<EnqueueBatcher["fire"]> =>
      enqueuer.fire({ name: "tick", due: at, content: as }, at + HOUR_MS, {
        id: "task",
        kind: "kind",
        payload: "null",
        extra: "",
      });
    expect(await fire(due)).to.include({ status: "ok" });
    await server.admin.del("sse:task:{tasks}:task");
    expect(await fire(due), "again").to.equal(null);
    expect(await fire(next, content.replace("kind", "other")), "as it was").to.equal(null);
    expect(Date.parse((await queue.schedules())[0]!.nextAt)).to.equal(next);
    await queue.unschedule("tick");
    expect(await fire(next), "taken away").to.equal(null);
    expect(await queue.get("task")).to.equal(null);
  });

  it("a schedule goes by the clock of Redis, whatever a worker takes for the time", async () => {
    const queue = sse.queue("skew");
    const { now } = Date;
    const ahead = stub(Date, "now").callsFake(() => now() + HOUR_MS);
    ends.push(() => ahead.restore());
    await queue.schedule("tick", { everyMs: 200 }, "kind", null);
    let begun = 0;
    const worker = queue.worker(() => void begun++);
    await eventually(() => expect(begun).to.be.at.least(3));
    await worker.stop();
    const [schedule] = await queue.schedules();
    expect(Date.parse(schedule!.nextAt) - now()).to.be.at.most(1_000);
  });

  it("a schedule that cannot be fired keeps no other from being fired, nor the worker from its tasks", async () => {
    const queue = sse.queue("poison");
    await queue.schedule("a-poison", { everyMs: HOUR_MS }, "kind", null);
    await queue.schedule("b-sound", { everyMs: HOUR_MS }, "kind", null);
    // As another version may have written it.
    const stored = { everyMs: HOUR_MS, kind: "kind", payload: "null", options: { priority: 1_000 } };
    await server.admin.hset(`${KEYS}poison:schedules`, "a-poison", JSON.stringify(stored));
    await server.admin.zadd(`${KEYS}poison:due`, 1, "a-poison", 2, "b-sound");
    const done: string[] = [];
    queue.worker(({ task }) => void done.push(task.id));
    await eventually(() => expect(done).to.have.length(1));
    // Its schedule was moved on with it.
    expect(Number(await server.admin.zscore(`${KEYS}poison:due`, "b-sound"))).to.be.greaterThan(2);
    await eventually(async () => {
      const next = (await queue.schedules()).map(({ nextAt }) => Date.parse(nextAt));
      for (const time of next) expect(time).to.be.greaterThan(Date.now() - 1_000);
    });
  });

  it("a task whose payload another program has broken fails at once, and those taken with it are done", async () => {
    const queue = sse.queue("broken");
    const ids = ["a", "b", "c"];
    await queue.enqueueMany(
      ids.map((id) => ({ kind: "kind", payload: { id }, options: { id: `broken-${id}` } })),
    );
    await server.admin.hset("sse:task:{tasks}:broken-b", "payload", "{no json");
    const done: string[] = [];
    queue.worker(({ task }) => void done.push(task.id), { concurrency: 6 });
    await eventually(async () => expect((await queue.counts()).failed).to.equal(1));
    await eventually(() => expect(done).to.deep.equal(["broken-a", "broken-c"]));
    const [letter] = (await queue.deadLetters.list()).tasks;
    expect(letter).to.include({ id: "broken-b", payload: null, attempt: 1, message: BROKEN });
  });

  it("thousands of schedules can be listed", async () => {
    const queue = sse.queue("many");
    const count = 5_000;
    await queue.schedule("s0", { everyMs: HOUR_MS }, "kind", null);
    const content = (await server.admin.hget(`${KEYS}many:schedules`, "s0"))!;
    const pipeline = server.admin.pipeline();
    for (let index = 1; index < count; index++) {
      pipeline.hset(`${KEYS}many:schedules`, `s${index}`, content);
      pipeline.zadd(`${KEYS}many:due`, String(Date.now() + HOUR_MS + index), `s${index}`);
    }
    await pipeline.exec();
    expect(await queue.schedules()).to.have.length(count);
  });

  it("a clock of Redis that was set back by an hour does not stop a queue with a rate", async () => {
    const queue = sse.queue("rate", { rateLimit: { max: 10, intervalMs: 1_000 } });
    await server.admin.hset(`${KEYS}rate`, "tokens", "0", "tokensAt", String(Date.now() + HOUR_MS));
    await queue.enqueue("kind", null, { id: "a" });
    queue.worker(() => {}, { pollMs: 50 });
    await untilDone(queue, "a");
  });

  it("a slow rate is kept while workers look at the queue all the time", async () => {
    // So long that what comes in between two looks is less than a millionth.
    const interval = 2_000_000_000;
    const queue = sse.queue("slow", { rateLimit: { max: 1, intervalMs: interval } });
    // One that was taken nearly so long ago: the next is due in two seconds.
    await server.admin.hset(`${KEYS}slow`, "tokens", "0", "tokensAt", String(Date.now() - interval + 2_000));
    await queue.enqueueMany([
      { kind: "kind", payload: null, options: { id: "a" } },
      { kind: "kind", payload: null, options: { id: "b" } },
    ]);
    for (let workers = 0; workers < 4; workers++) queue.worker(() => {}, { pollMs: 1 });
    await untilDone(queue, "a", 6_000);
    expect(await statusOf(queue, "b")).to.equal("queued");
  });

  it("an attempt that was lost to its own worker is told so", async () => {
    const queue = sse.queue("own");
    const reasons: unknown[] = [];
    const over = deferred();
    ends.push(over.resolve);
    queue.worker(
      async ({ attempt, signal }) => {
        signal.addEventListener("abort", () => reasons.push((signal.reason as { code: string }).code));
        if (attempt === 1) await over.promise;
      },
      { concurrency: 2, leaseMs: 60_000, pollMs: 10 },
    );
    await queue.enqueue("kind", null, { id: "own" });
    await eventually(async () => expect(await statusOf(queue, "own")).to.equal("running"));
    // As if renewals had not come through for a minute.
    await server.admin.zadd(`${KEYS}own:leases`, 1, "own");
    await untilDone(queue, "own");
    expect(reasons).to.include("LEASE_LOST");
  });

  it("an id that is used again is neither forgotten nor shown for what it was", async () => {
    const first = sse.queue("first", { maxResults: 1, resultTtlMs: 20 });
    const second = sse.queue("second");
    await first.enqueue("kind", 1, { id: "again" });
    await first.cancel("again");
    await eventually(async () => expect(await first.get("again")).to.equal(null));
    // The entry outlives the task, as where a server that is short of memory has dropped that.
    await server.admin.zadd(`${KEYS}first:cancelled`, String(Date.now() + HOUR_MS), "again");
    await second.enqueue("secret", 2, { id: "again", delayMs: HOUR_MS });
    expect((await first.list("cancelled")).tasks).to.deep.equal([]);
    await first.enqueue("kind", 3, { id: "other", resultTtlMs: 2 * HOUR_MS });
    await first.cancel("other");
    expect(await first.counts()).to.include({ cancelled: 1 });
    expect((await first.list("cancelled")).tasks.map(({ id }) => id)).to.deep.equal(["other"]);
    expect(await second.get("again")).to.include({ kind: "secret", status: "delayed" });
    await server.admin.zadd(`${KEYS}first:cancelled`, String(Date.now() + HOUR_MS), "gone");
    await second.enqueue("secret", 4, { id: "gone" });
    await second.cancel("gone");
    expect((await first.list("cancelled")).tasks.map(({ id }) => id)).to.deep.equal(["other"]);
  });

  it("what is over is listed as long as it is kept", async () => {
    const queue = sse.queue("kept");
    await queue.enqueue("kind", 1, { id: "old" });
    await queue.cancel("old");
    await server.admin.zadd(`${KEYS}kept:cancelled`, 1, "old");
    expect(await queue.list("cancelled")).to.deep.equal({ tasks: [], next: null });
  });

  it("a page goes on where the one before ended, though its last task has moved", async () => {
    const queue = sse.queue("pages");
    const ids = Array.from({ length: 6 }, (_, index) => `p${index}`);
    for (const [index, id] of ids.entries()) {
      await queue.enqueue("kind", null, { id, delayMs: (index + 1) * HOUR_MS });
    }
    const { next } = await queue.list("delayed", { limit: 2 });
    await server.admin.zadd(`${KEYS}pages:delayed`, String(Date.now() + 100 * HOUR_MS), "p1");
    const { tasks } = await queue.list("delayed", { cursor: next });
    expect(tasks.map(({ id }) => id)).to.deep.equal(["p2", "p3", "p4", "p5", "p1"]);
  });

  it("a task that is requeued has its key of deduplication, or stays where another has it", async () => {
    const queue = sse.queue("once", { attempts: 1 });
    const worker = queue.worker(
      () => {
        throw new Error("no");
      },
      { onError: () => {} },
    );
    await queue.enqueue("kind", null, { id: "failed", deduplicate: "key" });
    await eventually(async () => expect(await statusOf(queue, "failed")).to.equal("failed"));
    await worker.stop();
    const other = await queue.enqueue("kind", null, { deduplicate: "key" });
    expect(await queue.deadLetters.requeue("failed")).to.equal(0);
    expect(await statusOf(queue, "failed")).to.equal("failed");
    await queue.cancel(other.id);
    expect(await queue.deadLetters.requeue("failed")).to.equal(1);
    expect((await queue.enqueue("kind", null, { deduplicate: "key" })).id).to.equal("failed");
  });

  it("a key of deduplication whose task was forgotten is free, though its id is another queue's by now", async () => {
    const queue = sse.queue("keys");
    const deduplicate = { key: "key", windowMs: HOUR_MS };
    await queue.enqueue("kind", null, { id: "holder", deduplicate });
    // As a server does that is short of memory.
    await server.admin.del("sse:task:{tasks}:holder");
    await sse.queue("another").enqueue("kind", null, { id: "holder" });
    expect((await queue.enqueue("kind", null, { id: "next", deduplicate })).id).to.equal("next");
  });

  it("a queue does not speak for another's task", async () => {
    const mine = await sse.queue("mine").enqueue("kind", null);
    expect(await sse.queue("theirs").publishProgress(mine.id, { progress: 50 })).to.equal(false);
    expect(await sse.queue("mine").get(mine.id)).to.include({ progress: 0 });
    expect(await sse.queue("mine").publishProgress(mine.id, { progress: 50 })).to.equal(true);
  });

  it("places in line without a task behind them keep nothing waiting", async () => {
    const queue = sse.queue("ghosts");
    for (let index = 0; index < 20; index++) await queue.enqueue("kind", null, { id: `ghost${index}` });
    await queue.enqueue("kind", null, { id: "real" });
    await server.admin.del(Array.from({ length: 20 }, (_, index) => `sse:task:{tasks}:ghost${index}`));
    queue.worker(() => {}, { pollMs: 5_000 });
    await untilDone(queue, "real", 4_000);
  });

  it('a dead letter of the id "all" is one of many', async () => {
    const queue = sse.queue("all", { attempts: 1 });
    queue.worker(
      () => {
        throw new Error("no");
      },
      { onError: () => {} },
    );
    for (const id of ["all", "a"]) await queue.enqueue("kind", null, { id });
    await eventually(async () => expect((await queue.counts()).failed).to.equal(2));
    expect(await queue.deadLetters.purge("all")).to.equal(1);
    expect(await statusOf(queue, "a")).to.equal("failed");
  });

  for (const keep of [true, false]) {
    it(`events of a task are told once each ${keep ? "with" : "without"} a history`, async () => {
      const options: QueueOptions = { progressMs: 0, backoff: 0 };
      const service = createRedisSse({ redis: server.url, ...(!keep && { history: false }) });
      ends.push(() => service.close());
      const queue = service.queue("told", options);
      const heard = await listen(service, "task_progress:told");
      ends.push(() => heard.stop());
      await queue.enqueue("kind", null, { id: "told" });
      if (keep) await service.publish("other", { data: 1 });
      queue.worker(
        async ({ attempt, progress }) => {
          await progress(50);
          if (attempt === 1) throw new Error("once more");
        },
        { onError: () => {} },
      );
      await untilDone(queue, "told");
      await heard.sync();
      const types = heard.messages.map((message) => (JSON.parse(message) as { type: string }).type);
      const told = ["queued", "started", "progress", "retry", "started", "progress", "succeeded"];
      expect(types).to.deep.equal(told);
    });
  }
});
