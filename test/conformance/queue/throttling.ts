import { expect } from "chai";

import { eventually } from "../../support/eventually.js";
import { FakeClock } from "../../support/fake-clock.js";
import type { QueueRig } from "../../support/queue-rig.js";
import { untilIdle } from "../../support/service.js";

/** Tests pausing and rate limits. */
export function describeThrottling(rig: QueueRig): void {
  const entries = (count: number): { kind: string; payload: number }[] =>
    Array.from({ length: count }, (_, index) => ({ kind: "kind", payload: index }));

  describe("paused queue", () => {
    it("starts no task in any process until resume(), and running tasks continue", async () => {
      const other = await rig.elsewhere();
      await rig.queue.enqueue("kind", null, { id: "under-way" });
      const { end, worker } = await rig.takeAndVanish();
      await other.pause();
      expect((await rig.queue.counts()).paused).to.equal(true);
      let begun = 0;
      rig.queue.worker(() => void begun++, { pollMs: 5_000 });
      await rig.queue.enqueueMany(entries(3));
      await untilIdle(rig.sse);
      expect(begun).to.equal(0);
      end("whole");
      expect((await rig.until("under-way", "succeeded")).result).to.equal("whole");
      await worker.stop();
      await other.resume();
      // The worker starts at once, not at its next poll.
      await eventually(() => expect(begun).to.equal(3), 1_500);
      expect((await rig.queue.counts()).paused).to.equal(false);
    });

    it("does not fire schedules, and its workers do not poll for them", async () => {
      const clock = new FakeClock();
      const service = await rig.service({ clock });
      await rig.queue.schedule("tick", { everyMs: 60_000 }, "tick", null);
      await rig.queue.pause();
      await rig.expire("due", "tick");
      let looks = 0;
      const { commands } = service.pool;
      const idle = service.queue(rig.name).worker(() => {}, { pollMs: 5_000 });
      await untilIdle(service);
      const claim = (commands as unknown as Record<string, (...args: unknown[]) => unknown>)[
        "redisSseClaim"
      ]!;
      (commands as unknown as Record<string, unknown>)["redisSseClaim"] = (...args: unknown[]) => {
        looks++;
        return claim.apply(commands, args);
      };
      clock.advance(4_000);
      await untilIdle(service);
      expect(looks).to.equal(0);
      expect(await rig.members("ready")).to.deep.equal([]);
      // On its stopped clock, this worker would compute past times and fire the schedule again and again.
      await idle.stop();
      rig.queue.worker(() => {});
      await rig.queue.resume();
      await eventually(async () => expect((await rig.queue.counts()).totals.succeeded).to.equal(1));
    });
  });

  describe("rateLimit", () => {
    it("applies to all workers together: max at once, then evenly over the interval", async () => {
      const rateLimit = { max: 5, intervalMs: 250 };
      const begun: number[] = [];
      await rig.queue.enqueueMany(entries(15));
      const before = performance.now();
      for (let worker = 0; worker < 2; worker++) {
        (await rig.elsewhere({ rateLimit })).worker(() => void begun.push(performance.now() - before), {
          concurrency: 10,
        });
      }
      await eventually(() => expect(begun).to.have.length(15));
      // 5 tokens at the start. Each of the other 10 takes 50 ms, rounded to milliseconds.
      expect(begun.at(-1)).to.be.at.least(480);
      expect(begun.at(-1)).to.be.below(3_000);
      expect(begun[5], "the sixth").to.be.at.least(45);
    });

    it("saves at most max tokens while no task starts", async () => {
      const queue = await rig.elsewhere({ rateLimit: { max: 2, intervalMs: 60_000 } });
      await rig.raw.hset(`sse:queue:{tasks}:${rig.name}`, { tokens: "1.5", tokensAt: "1" }); // long ago
      await rig.queue.enqueueMany(entries(5));
      queue.worker(() => {}, { concurrency: 10, pollMs: 10 });
      await eventually(async () => expect((await rig.queue.counts()).succeeded).to.equal(2));
      expect((await rig.queue.counts()).queued).to.equal(3);
    });

    it("is not stricter after the clock was set back", async () => {
      const queue = await rig.elsewhere({ rateLimit: { max: 10, intervalMs: 1_000 } });
      const later = String(Date.now() + 3_600_000);
      await rig.raw.hset(`sse:queue:{tasks}:${rig.name}`, { tokens: "5", tokensAt: later });
      await rig.queue.enqueueMany(entries(8));
      queue.worker(() => {}, { concurrency: 10 });
      await eventually(async () => expect((await rig.queue.counts()).succeeded).to.equal(8));
    });
  });
}
