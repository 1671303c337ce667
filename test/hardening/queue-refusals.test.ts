import { expect } from "chai";
import { Redis } from "ioredis";

import { createRedisSse, type QueueService, type RedisSse, type RedisSseError } from "../../lib/index.js";
import { deferred, eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { QueueWorkerProcess } from "../support/queue-processes.js";
import { RedisServer } from "../support/redis-server.js";
import { faultOf } from "../support/service.js";

describe("a queue on a Redis that refuses something, or is used in a way of its own", function () {
  this.timeout(30_000);

  let server: RedisServer;
  let ends: (() => unknown)[];

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
    // A hash table has no order to compare.
    await server.admin.config("SET", "hash-max-ziplist-value", "100000");
  });

  after(() => server?.stop());

  beforeEach(async () => {
    ends = [];
    await server.admin.flushall();
  });

  afterEach(async () => {
    await server.admin.config("SET", "maxmemory", "0");
    for (const end of ends.toReversed()) await end();
  });

  function connect(redis: string | Redis | object = server.url): RedisSse {
    const sse = createRedisSse({ redis });
    ends.push(() => sse.close());
    return sse;
  }

  async function untilStatus(queue: QueueService, id: string, status: string): Promise<void> {
    await eventually(async () => expect((await queue.get(id))?.status).to.equal(status));
  }

  async function everything(): Promise<Record<string, string | null>> {
    const keys = (await server.admin.keys("*")).toSorted();
    const dumps = await Promise.all(
      keys.map(async (key) => (await server.admin.dumpBuffer(key))?.toString("base64") ?? null),
    );
    return Object.fromEntries(keys.map((key, index) => [key, dumps[index]!]));
  }

  it("without memory it takes nothing new, and changes nothing by halves", async () => {
    const queue = connect().queue("full", { attempts: 1 });
    const worker = queue.worker(
      () => {
        throw new Error("no");
      },
      { onError: () => {} },
    );
    await queue.enqueue("kind", null, { id: "dead" });
    await untilStatus(queue, "dead", "failed");
    await worker.stop();
    await queue.enqueue("kind", null, { id: "queued" });
    await queue.schedule("tick", { everyMs: 3_600_000 }, "kind", null);
    const before = await everything();
    await server.admin.config("SET", "maxmemory", "1");
    const calls: Record<string, () => Promise<unknown>> = {
      enqueue: () => queue.enqueue("kind", null, { deduplicate: "key" }),
      enqueueMany: () =>
        queue.enqueueMany([
          { kind: "kind", payload: null },
          { kind: "kind", payload: null },
        ]),
      delayed: () => queue.enqueue("kind", null, { delayMs: 1_000 }),
      requeue: () => queue.deadLetters.requeue("dead"),
      schedule: () => queue.schedule("tock", { everyMs: 1_000 }, "kind", null),
      progress: () => queue.publishProgress("queued", { progress: 1 }),
      pause: () => queue.pause(),
    };
    for (const [name, call] of Object.entries(calls)) {
      expect(await faultOf(call()), name).to.include({ code: "REDIS_REFUSED" });
    }
    expect(await everything()).to.deep.equal(before);
    expect(await queue.deadLetters.purge("dead"), "what frees memory is done").to.equal(1);
  });

  it("without memory it works off what it has: claims, leases, retries, ends, cancelling", async () => {
    const queue = connect().queue("drain", { attempts: 2, backoff: 10 });
    const renewed = deferred();
    ends.push(renewed.resolve);
    const ids = ["sound", "twice", "long", "delayed", "cancelled"];
    for (const id of ids.slice(0, 3)) await queue.enqueue("kind", null, { id });
    await queue.enqueue("kind", null, { id: "delayed", delayMs: 300 });
    await queue.enqueue("kind", null, { id: "cancelled", delayMs: 60_000 });
    await queue.enqueue("kind", null, { id: "lost", priority: 1 });
    const other = connect().queue("drain");
    // One that has the task, and is never heard of again.
    const lost = other.worker(() => renewed.promise, { leaseMs: 60_000 });
    await untilStatus(queue, "lost", "running");
    await lost.stop({ graceMs: 0 });
    await server.admin.zadd("sse:queue:{tasks}:drain:leases", 1, "lost");
    await server.admin.config("SET", "maxmemory", "1");
    queue.worker(
      async ({ task, attempt }) => {
        if (task.id === "twice" && attempt === 1) throw new Error("once more");
        if (task.id === "long") await renewed.promise;
      },
      { concurrency: 10, leaseMs: 300, pollMs: 50, onError: () => {} },
    );
    for (const id of ["sound", "twice", "delayed", "lost"]) await untilStatus(queue, id, "succeeded");
    expect(await queue.cancel("cancelled")).to.equal(true);
    await untilStatus(queue, "long", "running");
    renewed.resolve();
    await untilStatus(queue, "long", "succeeded");
    expect(await queue.get("long")).to.include({ attempt: 1 });
  });

  for (const [what, code, message, refuse, allow] of [
    [
      "is a replica",
      "REDIS_REFUSED",
      /READONLY$/,
      () => server.admin.replicaof("127.0.0.1", 1),
      () => server.admin.replicaof("NO", "ONE"),
    ],
    [
      "forbids the call by its ACL",
      "REDIS_REFUSED",
      /NOPERM$/,
      () => server.admin.call("ACL", "SETUSER", "worker", "-evalsha", "-eval"),
      () => server.admin.call("ACL", "SETUSER", "worker", "+evalsha", "+eval"),
    ],
  ] as const) {
    it(`that ${what} is told to onFault once, and counted; the worker goes on when it can`, async () => {
      await server.admin.call("ACL", "SETUSER", "worker", "on", ">pass", "~*", "&*", "+@all");
      const sse = connect(`redis://worker:pass@127.0.0.1:${server.port}`);
      const queue = sse.queue("faulty");
      const told: RedisSseError[] = [];
      await queue.enqueue("kind", null, { id: "before" });
      await queue.pause();
      queue.worker(() => {}, { pollMs: 20, onFault: (fault) => told.push(fault) });
      await refuse();
      ends.push(allow);
      const faults = async (): Promise<number> => (await sse.status()).queues[0]!.faults[code] ?? 0;
      await eventually(async () => expect(await faults()).to.be.at.least(3));
      expect(told.map((fault) => fault.code)).to.deep.equal([code]);
      expect(told[0]!.message).to.match(message);
      await allow();
      await queue.resume();
      await untilStatus(queue, "before", "succeeded");
    });
  }

  it("that is full is told to onFault when a task reports, and its outcome is stored all the same", async () => {
    const queue = connect().queue("full-worker");
    await queue.enqueue("kind", null, { id: "reports" });
    await server.admin.config("SET", "maxmemory", "1");
    const told: RedisSseError[] = [];
    const reported = deferred();
    queue.worker(({ progress }) => (void progress(50), reported.promise), {
      onFault(fault) {
        told.push(fault);
        reported.resolve();
      },
    });
    await reported.promise;
    expect(told[0]).to.include({ code: "REDIS_REFUSED", message: "Redis refused the command: OOM" });
    await server.admin.config("SET", "maxmemory", "0");
    await untilStatus(queue, "reports", "succeeded");
  });

  it("a user who may publish on no task's channel, nor wake anybody, has his tasks done all the same", async () => {
    await server.admin.call(
      "ACL",
      "SETUSER",
      "mute",
      "on",
      ">pass",
      "~*",
      "+@all",
      "resetchannels",
      "&sse:*",
    );
    await server.admin.call("ACL", "SETUSER", "deaf", "on", ">pass", "~*", "+@all", "resetchannels");
    for (const user of ["mute", "deaf"]) {
      const queue = connect(`redis://${user}:pass@127.0.0.1:${server.port}`).queue(user, { backoff: 1 });
      queue.worker(
        async ({ attempt, progress, write }) => {
          await progress(50);
          await write("piece");
          if (attempt === 1) throw new Error("once more");
        },
        { pollMs: 20, onError: () => {} },
      );
      await queue.enqueue("kind", null, { id: user });
      await untilStatus(queue, user, "succeeded");
      expect((await queue.counts()).totals).to.include({ enqueued: 1, succeeded: 1, retried: 1, refused: 0 });
      const log = await server.admin.xrange(`sse:log:{tasks}:task_progress:${user}`, "-", "+");
      const pieces = log.filter(([, fields]) => fields.includes("piece"));
      expect(pieces).to.have.length(2);
    }
  });

  it("one outcome that Redis refuses does not hold back those that were told with it", async () => {
    const tasks = "sse:task:{tasks}:";
    const rights = ["on", ">pass", "~*", "&*", "+@all"];
    await server.admin.call("ACL", "SETUSER", "narrow", "reset", ...rights);
    const queue = connect(`redis://narrow:pass@127.0.0.1:${server.port}`).queue("narrow");
    const plain = connect().queue("narrow");
    const release = deferred();
    ends.push(release.resolve);
    const worker = queue.worker(() => release.promise, { concurrency: 6 });
    for (const id of ["good-1", "bad", "good-2"]) await plain.enqueue("kind", null, { id });
    await eventually(() => expect(worker.running).to.equal(3));
    await server.admin.call("ACL", "SETUSER", "narrow", "resetkeys", "~sse:queue:*", `~${tasks}`, "~*good*");
    await server.admin.call("ACL", "SETUSER", "narrow", "~sse:pos:{tasks}:task_progress:");
    await server.admin.call("ACL", "SETUSER", "narrow", "~sse:log:{tasks}:task_progress:");
    release.resolve();
    for (const id of ["good-1", "good-2"]) await untilStatus(plain, id, "succeeded");
    expect(await plain.get("bad")).to.include({ status: "running" });
    expect(await plain.counts()).to.include({ succeeded: 2, running: 1 });
    await server.admin.call("ACL", "SETUSER", "narrow", "~*");
    await untilStatus(plain, "bad", "succeeded");
    expect(await plain.counts()).to.include({ succeeded: 3, running: 0 });
    expect(await plain.get("bad")).to.include({ attempt: 1 });
  });

  it("an app's own client keeps its key prefix, and the queue keeps its keys", async () => {
    const client = new Redis(server.url, { keyPrefix: "app:" });
    ends.push(() => client.quit());
    const queue = connect(client).queue("prefixed");
    const plain = connect().queue("prefixed");
    queue.worker(({ task }) => task.payload);
    await plain.enqueue("kind", { a: 1 }, { id: "prefixed" });
    await untilStatus(queue, "prefixed", "succeeded");
    expect(await plain.get("prefixed")).to.deep.include({ result: { a: 1 } });
    expect(await server.admin.keys("app:*")).to.deep.equal([]);
    await client.set("own", "1");
    expect(await server.admin.get("app:own")).to.equal("1");
  });

  for (const protocol of [2, 3]) {
    it(`RESP${protocol} makes no difference`, async () => {
      const redis = { host: "127.0.0.1", port: server.port, protocol };
      const queue = connect(redis).queue("resp", { rateLimit: { max: 100, intervalMs: 10 } });
      await queue.schedule("tick", { everyMs: 100 }, "kind", null);
      queue.worker(({ task }) => task.id);
      await queue.enqueue("kind", null, { id: "resp", delayMs: 20, priority: -100 });
      await untilStatus(queue, "resp", "succeeded");
      await eventually(async () => expect((await queue.counts()).totals.succeeded).to.be.greaterThan(2));
      const { tasks, next } = await queue.list("succeeded", { limit: 1 });
      expect(tasks[0]).to.include({ status: "succeeded", result: tasks[0]!.id });
      expect((await queue.list("succeeded", { limit: 1, cursor: next! })).tasks[0]!.id).to.not.equal(
        tasks[0]!.id,
      );
    });
  }

  it("ids are of no queue in particular: another queue neither takes one twice, nor cancels or answers it", async () => {
    const sse = connect();
    const [one, other] = [sse.queue("one"), sse.queue("other")];
    await one.enqueue("kind", 1, { id: "same", deduplicate: "key" });
    expect(await faultOf(other.enqueue("kind", 2, { id: "same" }))).to.include({ code: "TASK_EXISTS" });
    expect(await other.get("same")).to.equal(null);
    expect(await other.cancel("same")).to.equal(false);
    expect(await one.get("same")).to.include({ payload: 1, status: "queued" });
    // A key is each queue's own.
    expect(await other.enqueue("kind", 3, { deduplicate: "key" })).to.include({ payload: 3 });
  });

  it("priorities at their ends, far dates, many that are due at once and many whose workers are lost keep their order", async () => {
    const queue = connect().queue("order", { attempts: 5 });
    const far = { runAt: 8.64e15 };
    expect(await queue.enqueue("kind", null, { id: "far", ...far })).to.include({
      runAt: new Date(far.runAt).toISOString(),
    });
    const ids = Array.from({ length: 450 }, (_, index) => `t-${index}`);
    await queue.enqueueMany(
      ids.map((id, index) => ({
        kind: "kind",
        payload: null,
        options: { id, priority: (index % 3) * 100 - 100, delayMs: index % 2 === 0 ? 1 : 0 },
      })),
    );
    const inOrder = [2, 1, 0].flatMap((part) => ids.filter((_, index) => index % 3 === part));
    await queue.pause();
    const looker = queue.worker(() => {}, { pollMs: 5 });
    await eventually(async () => expect((await queue.counts()).queued).to.equal(450));
    expect((await queue.list("queued", { limit: 1_000 })).tasks.map(({ id }) => id)).to.deep.equal(inOrder);
    await looker.stop();
    await queue.resume();
    // All are taken, and their worker is lost.
    const lost = await QueueWorkerProcess.start({
      url: server.url,
      queue: "order",
      workMs: 600_000,
      leaseMs: 60_000,
      concurrency: 1_000,
    });
    ends.push(() => lost.kill());
    await eventually(async () => expect((await queue.counts()).running).to.equal(450), 10_000);
    await lost.kill();
    await queue.pause();
    const leases = ids.flatMap((id) => [1, id]);
    await server.admin.zadd("sse:queue:{tasks}:order:leases", ...leases);
    const begun: string[] = [];
    queue.worker(({ task }) => void begun.push(task.id), { pollMs: 5 });
    await eventually(async () => expect((await queue.counts()).queued).to.equal(450));
    await queue.resume();
    await eventually(() => expect(begun).to.have.length(450), 15_000);
    expect(begun).to.deep.equal(inOrder);
    expect((await queue.counts()).totals).to.include({ lost: 450, succeeded: 450 });
    expect(await queue.get("far")).to.include({ status: "delayed" });
  });
});
