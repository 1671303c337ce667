import { expect } from "chai";

import { createRedisSse, type QueueOptions, type RedisSse } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { need } from "../support/prerequisites.js";
import { RedisServer } from "../support/redis-server.js";

const TASKS = 6_000;
const TEXT = "x".repeat(20_000);

describe("a queue on a Redis with 64 MB that evicts nothing", function () {
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
    it(`keeps accepting tasks after 6,000 with ${what} of 20 KB`, async () => {
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
});
