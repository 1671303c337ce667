import { setTimeout as pause } from "node:timers/promises";

import { expect } from "chai";

import { createRedisSse, type QueueService, type RedisSse, type Task } from "../../lib/index.js";
import { eventually, repeat } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";

const CRASHES = 3;

describe("tasks in a Redis that crashes, and writes down what it acknowledges", function () {
  this.timeout(90_000);

  let server: RedisServer;
  let services: RedisSse[];

  beforeEach(async function () {
    services = [];
    server = await RedisServer.start(await need("redis", this), [
      "--appendonly",
      "yes",
      "--appendfsync",
      "always",
    ]);
  });

  afterEach(async () => {
    await Promise.all(services.map((sse) => sse.close()));
    await server?.stop();
  });

  function connect(): QueueService {
    const sse = createRedisSse({ redis: server.url });
    services.push(sse);
    return sse.queue("crash", { attempts: 20, progressMs: 0 });
  }

  async function readSucceeded(queue: QueueService): Promise<Map<string, Task>> {
    const all = new Map<string, Task>();
    for (let cursor: string | undefined; ;) {
      const { tasks, next } = await queue.list("succeeded", { limit: 1_000, cursor });
      for (const task of tasks) all.set(task.id, task);
      if (next === null) return all;
      cursor = next;
    }
  }

  it("what it has acknowledged is done, each completion that was seen stays, and nothing is done for good twice", async () => {
    const producer = connect();
    const reader = connect();
    const consumers = [connect(), connect()];
    for (const consumer of consumers) {
      consumer.worker(
        async ({ task, attempt, progress, write }) => {
          // Not awaited: Redis may be away for a while.
          void progress(50, "half way");
          write("piece").catch(() => {});
          // The work itself.
          await pause(2);
          return [task.id, attempt];
        },
        { concurrency: 10, leaseMs: 1_000, pollMs: 100 },
      );
    }
    const acknowledged = new Set<string>();
    const producing = Array.from({ length: 5 }, () =>
      repeat(async () => {
        await producer.enqueue("work", null).then(
          ({ id }) => acknowledged.add(id),
          // Not acknowledged: Redis was away for longer than a call waits.
          () => {},
        );
      }),
    );

    const seen = new Map<string, Task>();
    for (let crash = 1; crash <= CRASHES; crash++) {
      const before = acknowledged.size;
      await eventually(async () => {
        expect(acknowledged.size).to.be.greaterThan(before + 200);
        expect((await reader.counts()).totals.succeeded).to.be.greaterThan(seen.size + 200);
      }, 20_000);
      for (const [id, task] of await readSucceeded(reader)) seen.set(id, task);
      // In the middle of everything: tasks are put in line, taken and ended all the time.
      await server.kill();
      await server.boot();
    }
    await Promise.all(producing.map((one) => one.stop()));

    await eventually(async () => {
      const { queued, delayed, running } = await reader.counts();
      expect({ queued, delayed, running }).to.deep.equal({ queued: 0, delayed: 0, running: 0 });
    }, 30_000);
    const succeeded = await readSucceeded(reader);
    expect(seen.size, "completions seen before a crash").to.be.greaterThan(200 * CRASHES);
    for (const id of acknowledged)
      expect(succeeded.has(id), `${id} was acknowledged, and is done`).to.equal(true);
    for (const [id, task] of seen) expect(succeeded.get(id)).to.deep.equal(task);
    for (const { id, attempt, result } of succeeded.values()) expect(result).to.deep.equal([id, attempt]);
    const { totals, failed } = await reader.counts();
    expect(failed).to.equal(0);
    expect(totals.succeeded, "each is counted once").to.equal(succeeded.size);
    expect(totals.enqueued, "and put in line once").to.equal(succeeded.size);
    const counted = consumers.reduce((sum, { statistics }) => sum + statistics.succeeded, 0);
    expect(counted, "the workers know of each").to.equal(succeeded.size);
  });
});
