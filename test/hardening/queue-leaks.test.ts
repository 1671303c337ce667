import { expect } from "chai";

import type { RedisSseError } from "../../lib/index.js";
import { deferred, eventually, settle } from "../support/eventually.js";
import { countResources, expectNoMoreResources } from "../support/resources.js";
import { describeQueueFaults, until } from "../support/queue-fault-rig.js";

const TASKS = 2_000;

describeQueueFaults(
  "a queue after its tasks have ended",
  (rig) => {
    async function keysWithoutTtl(): Promise<string[]> {
      const keys: string[] = [];
      for await (const page of rig.server.admin.scanStream({ match: "sse:*", count: 1_000 })) {
        keys.push(...(page as string[]));
      }
      const ttls = await Promise.all(keys.map((key) => rig.server.admin.pttl(key)));
      return keys.filter((_, index) => ttls[index] === -1).toSorted();
    }

    it("leaves no timer, socket, listener, or key without a TTL, after 2,000 tasks of every kind", async () => {
      await settle();
      const before = countResources();
      const sse = rig.connect();
      const queue = sse.queue("leaks", { attempts: 2, backoff: 1, progressMs: 5 });
      const signals = new Set<AbortSignal>();
      const worker = queue.worker(
        async ({ task, signal, attempt, progress, write, log }) => {
          signals.add(signal);
          const part = (task.payload as number) % 6;
          void progress(10, "begun");
          if (part === 1) await progress({ progress: 50, page: 3 });
          if (part === 2) await Promise.all([write("text"), write({ a: 1 }), log("line")]);
          if (part === 3) throw new Error("no");
          // Runs until it is cancelled or times out.
          if (part >= 4)
            await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
          if (part === 0 && attempt === 1) throw new Error("once more");
          return task.payload;
        },
        { concurrency: 100, leaseMs: 2_000, pollMs: 100, onError: () => {} },
      );
      const cancelled: string[] = [];
      for (let from = 0; from < TASKS; from += 500) {
        const entries = Array.from({ length: 500 }, (_, index) => ({
          kind: "kind",
          payload: from + index,
          options: {
            deduplicate:
              index % 2 === 0 ? `key-${from + index}` : { key: `window-${from + index}`, windowMs: 60_000 },
            ...((from + index) % 6 === 5 && { timeoutMs: 20 }),
            ...(index % 10 === 0 && { delayMs: 50 }),
          },
        }));
        const tasks = await queue.enqueueMany(entries);
        cancelled.push(...tasks.filter(({ payload }) => (payload as number) % 6 === 4).map(({ id }) => id));
      }
      // Cancels queued, delayed and running tasks.
      for (const id of cancelled) await queue.cancel(id);
      await eventually(async () => {
        const { queued, delayed, running } = await queue.counts();
        expect({ queued, delayed, running, here: queue.statistics.running }).to.deep.equal({
          queued: 0,
          delayed: 0,
          running: 0,
          here: 0,
        });
      }, 40_000);
      const { totals } = await queue.counts();
      expect(totals.succeeded + totals.failed + totals.cancelled).to.equal(TASKS);
      expect(totals).to.include({ cancelled: cancelled.length, lost: 0, refused: 0 });

      const queueKey = "sse:queue:{tasks}:leaks";
      expect(await keysWithoutTtl(), "the hash of the queue alone").to.deep.equal([queueKey]);
      await worker.stop();
      for (const signal of signals) expect(signal.aborted, "a signal that nobody will fire").to.equal(true);
      await sse.close();
      await eventually(() => expectNoMoreResources(before));
      expect(await rig.server.connections()).to.deep.equal([]);
    });

    it("uses the same number of connections for 20 queues as for one", async () => {
      const connections: number[] = [];
      for (const count of [1, 20]) {
        const sse = rig.connect();
        const queues = Array.from({ length: count }, (_, index) => sse.queue(`queue-${index}`));
        for (const queue of queues) queue.worker(() => {});
        await Promise.all(queues.map((queue) => queue.enqueue("kind", null)));
        await eventually(() => {
          for (const { statistics } of queues) expect(statistics.succeeded).to.equal(1);
        });
        connections.push((await rig.server.connections()).length);
        await sse.close();
        await rig.server.admin.flushall();
      }
      expect(connections).to.deep.equal([2, 2]);
    });
  },
  { timeoutMs: 60_000 },
);

describeQueueFaults(
  "a handler that writes more than the queue accepts",
  (rig) => {
    const CALLS = 100_000;

    for (const [what, chunk] of [
      ["objects", { some: "object" }],
      ["strings", "x".repeat(100)],
      ["empty lines", ""],
    ] as const) {
      it(`gets WRITER_OVERFLOW, without an unhandled rejection, if it writes 100,000 ${what} without awaiting`, async () => {
        const codes = new Map<string, number>();
        const said = deferred();
        const queue = rig.connect().queue("tight");
        queue.worker(async ({ write, log }) => {
          for (let call = 1; call <= CALLS; call++) {
            void (chunk === "" ? log("") : write(chunk)).then(
              () => {},
              (error: unknown) => {
                const { code } = error as RedisSseError;
                codes.set(code, (codes.get(code) ?? 0) + 1);
              },
            );
            // Nothing handles the rejection of this call.
            if (call === CALLS) void write("last of them");
          }
          said.resolve();
        });
        await queue.enqueue("kind", null, { id: "write" });
        await said.promise;
        await until(queue, "write", "succeeded", 20_000);
        await settle();
        expect([...codes.keys()]).to.deep.equal(["WRITER_OVERFLOW"]);
        expect(codes.get("WRITER_OVERFLOW")).to.be.within(CALLS / 2, CALLS);
        const stored = await rig.server.admin.xlen("sse:log:{tasks}:task_progress:write");
        expect(stored).to.be.lessThan(20_000);
      });
    }

    it("does not delay its outcome by a write loop that it has left running", async () => {
      const queue = rig.connect().queue("tight");
      const ended = deferred<string>();
      queue.worker(({ write }) => {
        void (async () => {
          for (;;) await write("more");
        })().catch((error: RedisSseError) => ended.resolve(error.code));
        return "done";
      });
      await queue.enqueue("kind", null, { id: "loop" });
      await until(queue, "loop", "succeeded", 20_000);
      expect(await ended.promise).to.equal("ABORTED");
    });
  },
  { timeoutMs: 60_000 },
);
