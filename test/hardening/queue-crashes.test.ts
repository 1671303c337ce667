import { expect } from "chai";

import { createRedisSse, type QueueService, type RedisSse, type Task } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { QueueWorkerProcess, type QueueWorkerOptions } from "../support/queue-processes.js";
import { RedisServer } from "../support/redis-server.js";

const TASKS = 20_000;
const LEASE_MS = 1_000;
const LEASES = "sse:queue:{tasks}:crashes:leases";

describe("tasks of workers that crash and freeze", function () {
  this.timeout(90_000);

  let server: RedisServer;
  let sse: RedisSse;
  let queue: QueueService;
  let workers: QueueWorkerProcess[];

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
  });

  after(() => server?.stop());

  beforeEach(async () => {
    await server.admin.flushall();
    workers = [];
    sse = createRedisSse({ redis: server.url });
    // A task may well lose every one of its workers here.
    queue = sse.queue("crashes", { attempts: 10 });
  });

  afterEach(async () => {
    await Promise.all(workers.map((worker) => worker.kill()));
    await sse.close();
  });

  async function start(options: Partial<QueueWorkerOptions> = {}): Promise<QueueWorkerProcess> {
    const worker = await QueueWorkerProcess.start({
      url: server.url,
      queue: "crashes",
      workMs: 25,
      leaseMs: LEASE_MS,
      concurrency: 40,
      ...options,
    });
    workers.push(worker);
    return worker;
  }

  async function enqueue(count: number): Promise<Set<string>> {
    const ids = new Set<string>();
    while (ids.size < count) {
      const entries = Array.from({ length: Math.min(1_000, count - ids.size) }, (_, index) => ({
        kind: "work",
        payload: index,
      }));
      for (const { id } of await queue.enqueueMany(entries)) ids.add(id);
    }
    return ids;
  }

  async function untilSucceeded(count: number): Promise<void> {
    await eventually(async () => {
      expect((await queue.counts()).totals.succeeded).to.be.at.least(count);
    }, 60_000);
  }

  async function readSucceeded(): Promise<Task[]> {
    const all: Task[] = [];
    for (let cursor: string | undefined; ;) {
      const { tasks, next } = await queue.list("succeeded", { limit: 1_000, cursor });
      all.push(...tasks);
      if (next === null) return all;
      cursor = next;
    }
  }

  /** Until no lease is left that was given, or renewed, before now. */
  async function untilLeasesRanOut(): Promise<void> {
    const [seconds, microseconds] = await server.admin.time();
    const latest = Number(seconds) * 1_000 + Math.ceil(Number(microseconds) / 1_000) + LEASE_MS;
    await eventually(async () => {
      const [, score] = await server.admin.zrange(LEASES, "0", "0", "WITHSCORES");
      expect(Number(score ?? Infinity)).to.be.greaterThan(latest);
    }, 20_000);
  }

  it("each of 20,000 ends once: one worker of four is frozen beyond its lease and comes back, two are killed", async () => {
    const ids = await enqueue(TASKS);
    const [zombie, first, second] = await Promise.all([
      // Its handlers are at work nearly all the time.
      start({ workMs: 300 }),
      start(),
      start(),
      start(),
    ]);
    zombie.signal("SIGSTOP");
    await untilLeasesRanOut();
    const { totals: before } = await queue.counts();
    expect(before.lost, "tasks of the zombie that others have").to.be.greaterThan(0);
    expect(before.succeeded, "there is work left when it comes back").to.be.lessThan(TASKS - 1_000);
    zombie.signal("SIGCONT");
    await untilSucceeded(before.succeeded + 500);
    await first.kill();
    await untilSucceeded(before.succeeded + 1_000);
    await second.kill();
    await untilSucceeded(TASKS);

    const { totals, ...counts } = await queue.counts();
    expect(counts).to.include({ queued: 0, delayed: 0, running: 0, succeeded: TASKS, failed: 0 });
    expect(totals).to.include({ enqueued: TASKS, succeeded: TASKS, failed: 0, cancelled: 0, retried: 0 });
    expect(totals.lost, "tasks of the killed as well").to.be.greaterThan(before.lost);
    expect(totals.refused, "late outcomes of the zombie").to.be.greaterThan(0);
    const tasks = await readSucceeded();
    expect(new Set(tasks.map(({ id }) => id))).to.deep.equal(ids);
    expect(tasks).to.have.length(TASKS);
    for (const { id, attempt, result } of tasks) {
      expect((result as { attempt: number }).attempt, `the outcome of ${id} is its last attempt's`).to.equal(
        attempt,
      );
    }
    const repeated = tasks.reduce((sum, { attempt }) => sum + attempt - 1, 0);
    expect(repeated, "every attempt beyond the first follows a lease that ran out").to.equal(totals.lost);

    const reports = await Promise.all(workers.filter(({ running }) => running).map((worker) => worker.end()));
    expect(reports.reduce((sum, { refused }) => sum + refused, 0)).to.equal(totals.refused);
  });
});
