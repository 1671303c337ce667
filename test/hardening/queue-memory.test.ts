import { expect } from "chai";

import { createRedisSse, type QueueOptions, type RedisSse } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";

const TASKS = 6_000;
const TEXT = "x".repeat(20_000);

describe("a queue on a Redis with little memory", function () {
  this.timeout(60_000);

  let server: RedisServer;
  let sse: RedisSse;

  before(async function () {
    server = await RedisServer.start(await need("redis", this));
  });

  after(() => server?.stop());

  beforeEach(async () => {
    await server.admin.flushall();
    await server.admin.config("SET", "maxmemory", "64mb");
    await server.admin.config("SET", "maxmemory-policy", "noeviction");
    sse = createRedisSse({ redis: server.url });
  });

  afterEach(() => sse.close());

  const cases: readonly (readonly [string, string, string | null, QueueOptions])[] = [
    ["payloads", TEXT, null, {}],
    ["results", "", TEXT, { results: { maxBytes: 16 * 1024 * 1024 } }],
  ];
  for (const [what, payload, result, options] of cases) {
    it(`keeps accepting tasks after 6,000 with ${what} of 20 KB, in 64 MB without eviction`, async () => {
      const queue = sse.queue("memory", options);
      queue.worker(() => result, { concurrency: 20 });
      for (let index = 0; index < TASKS; index += 100) {
        await queue.enqueueMany(Array.from({ length: 100 }, () => ({ kind: "kind", payload })));
        await eventually(async () => expect((await queue.counts()).totals.succeeded).to.equal(index + 100));
      }
      await queue.enqueue("kind", payload, { id: "last" });
      await eventually(async () => expect((await queue.get("last"))?.status).to.equal("succeeded"));
      const bytes = Number(await server.admin.hget("sse:queue:{tasks}:memory", "bytes:succeeded"));
      const count = await server.admin.zcard("sse:queue:{tasks}:memory:succeeded");
      expect(count).to.be.greaterThan(700);
      expect(bytes / count).to.be.within(400, 22_000);
    });
  }

  /** Another program's keys, twice as many as there is room for. */
  async function fill(): Promise<void> {
    const pipeline = server.admin.pipeline();
    for (let index = 0; index < 400; index++) pipeline.set(`other:${index}`, TEXT + TEXT);
    await pipeline.exec();
  }

  for (const policy of ["volatile-lru", "allkeys-lru"]) {
    it(`goes on where other programs' keys make Redis evict (${policy})`, async () => {
      await server.admin.config("SET", "maxmemory", "8mb");
      await server.admin.config("SET", "maxmemory-policy", policy);
      const faults: string[] = [];
      const queue = sse.queue("evicted", { results: { maxBytes: 1e9 } });
      const onFault = ({ code }: { code: string }): void => void faults.push(code);
      // The lease of a task that was evicted while it ran is over soon.
      queue.worker(() => TEXT, { concurrency: 5, leaseMs: 500, pollMs: 50, onFault });
      let sent = 0;
      for (let wave = 0; wave < 10; wave++) {
        // With volatile-lru only keys that expire make room.
        if (policy === "allkeys-lru") await fill();
        for (let index = 0; index < 10; index++) {
          await queue.enqueueMany(Array.from({ length: 10 }, () => ({ kind: "kind", payload: TEXT })));
          sent += 10;
        }
        await eventually(async () => {
          expect(await queue.counts()).to.include({ queued: 0, delayed: 0, running: 0 });
        }, 10_000);
        if (policy === "volatile-lru") {
          await eventually(async () => expect((await queue.counts()).totals.succeeded).to.equal(sent));
        }
      }
      expect(await readEvicted()).to.be.greaterThan(0);
      await queue.enqueue("kind", null, { id: "last" });
      await eventually(async () => expect((await queue.get("last"))?.status).to.equal("succeeded"));
      expect(faults).to.deep.equal([]);
    });
  }

  async function readEvicted(): Promise<number> {
    return Number(/evicted_keys:(\d+)/.exec(await server.admin.info("stats"))![1]);
  }
});
