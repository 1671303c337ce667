import { expect } from "chai";

import type { QueueOptions } from "../../lib/index.js";
import { eventually } from "../support/eventually.js";
import { describeQueueFaults, until } from "../support/queue-fault-rig.js";

const TASKS = 6_000;
const TEXT = "x".repeat(20_000);

describeQueueFaults(
  "a queue on a Redis with little memory",
  (rig) => {
    const cases: readonly (readonly [string, string, string | null, QueueOptions])[] = [
      ["payloads", TEXT, null, {}],
      ["results", "", TEXT, { results: { maxBytes: 16 * 1024 * 1024 } }],
    ];
    for (const [what, payload, result, options] of cases) {
      it(`keeps accepting tasks after 6,000 with ${what} of 20 KB, in 64 MB of memory without eviction`, async () => {
        await rig.server.admin.config("SET", "maxmemory", "64mb");
        const queue = rig.connect().queue("memory", options);
        queue.worker(() => result, { concurrency: 20 });
        for (let index = 0; index < TASKS; index += 100) {
          await queue.enqueueMany(Array.from({ length: 100 }, () => ({ kind: "kind", payload })));
          await eventually(async () => expect((await queue.counts()).totals.succeeded).to.equal(index + 100));
        }
        await queue.enqueue("kind", payload, { id: "last" });
        await until(queue, "last");
        const bytes = Number(await rig.server.admin.hget("sse:queue:{tasks}:memory", "bytes:succeeded"));
        const count = await rig.server.admin.zcard("sse:queue:{tasks}:memory:succeeded");
        expect(count).to.be.greaterThan(700);
        expect(bytes / count).to.be.within(400, 22_000);
      });
    }

    /** Writes keys of another program, twice as much as fits in memory. */
    async function fill(): Promise<void> {
      const pipeline = rig.server.admin.pipeline();
      for (let index = 0; index < 400; index++) pipeline.set(`other:${index}`, TEXT + TEXT);
      await pipeline.exec();
    }

    for (const policy of ["volatile-lru", "allkeys-lru"]) {
      it(`keeps working while Redis evicts keys (${policy})`, async () => {
        await rig.server.admin.config("SET", "maxmemory", "8mb");
        await rig.server.admin.config("SET", "maxmemory-policy", policy);
        const faults: string[] = [];
        const queue = rig.connect().queue("evicted", { results: { maxBytes: 1e9 } });
        const onFault = ({ code }: { code: string }): void => void faults.push(code);
        // A short lease, because Redis may evict a task while it runs.
        queue.worker(() => TEXT, { concurrency: 5, leaseMs: 500, pollMs: 50, onFault });
        for (let wave = 1; wave <= 10; wave++) {
          // With volatile-lru, only keys with a TTL can be evicted.
          if (policy === "allkeys-lru") await fill();
          for (let index = 0; index < 10; index++)
            await queue.enqueueMany(Array.from({ length: 10 }, () => ({ kind: "kind", payload: TEXT })));
          await eventually(async () => {
            expect(await queue.counts()).to.include({ queued: 0, delayed: 0, running: 0 });
          }, 10_000);
          if (policy === "volatile-lru") {
            await eventually(async () =>
              expect((await queue.counts()).totals.succeeded).to.equal(100 * wave),
            );
          }
        }
        expect(await rig.server.admin.info("stats")).to.not.include("evicted_keys:0\r");
        await queue.enqueue("kind", null, { id: "last" });
        await until(queue, "last");
        expect(faults).to.deep.equal([]);
      });
    }
  },
  { timeoutMs: 60_000 },
);
